// Start, redraw, keyboard.

function update() {
  const passing = jobs.filter(passes);
  drawGallery(passing);
  drawTable(passing);
  for (const node of document.querySelectorAll('#controls .menu')) node.sync();
  const [order, turn, count] = ['order', 'turn', 'count'].map(place);
  if (order) order.value = view.sort.key;
  if (turn) {
    turn.textContent = view.sort.down ? '↓' : '↑';
    turn.setAttribute('aria-label', view.sort.down ? 'Descending' : 'Ascending');
  }
  if (count) count.textContent = passing.length < jobs.length ? `${passing.length} of ${jobs.length}` : '';
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target;
  const typing = target.matches('input:not([type=range]):not([type=checkbox]), textarea, select');
  const detail = place('detail').open;
  const {key} = event;
  let done = true;
  if (typing) done = false;
  else if (key === ' ' && !target.matches('button:not(.open):not(.play), summary, a, input[type=checkbox]')) play(!clock.playing);
  else if (key === ',') step(-1);
  else if (key === '.') step(1);
  else if (key === 'd') switchTheme();
  else if (target.matches('input[type=range]') && (key === 'ArrowLeft' || key === 'ArrowRight')) step(key === 'ArrowLeft' ? -1 : 1);
  else if (target.matches('input[type=range]')) done = false;
  else if (detail && (key === 'ArrowLeft' || key === 'ArrowRight')) {
    const next = neighbours()[key === 'ArrowLeft' ? 0 : 1];
    if (next) drawDetail(next.job, next.sample);
  }
  else if (!detail && target.matches('.open') && /^(Arrow|Home$|End$)/.test(key)) moveFocus(target, key);
  else if (!detail && target.matches('body') && (key === 'ArrowLeft' || key === 'ArrowRight')) step(key === 'ArrowLeft' ? -1 : 1);
  else done = false;
  if (done) event.preventDefault();
});

document.addEventListener('keyup', (event) => {
  if (event.key === ' ' && event.target.matches('.open, .play')) event.preventDefault(); // the press has been served
});

restoreTheme();
place('detail').addEventListener('close', closeDetail);
place('detail').addEventListener('click', (event) => { if (event.target === place('detail')) place('detail').close(); });
addEventListener('scroll', hideTip, {passive: true});
buildBar();
view.show = types[0] || '';
const groups = DATA.axes.map((axis, index) => index).filter((index) => DATA.axes[index].values.length < jobs.length);
if (DATA.axes.length > 1 && groups.length) view.group = groups.find((index) => DATA.axes[index].key !== 'seed') ?? groups[0];
drawHead();
drawFailed();
drawTables();
drawAbout();
drawFoot();
drawControls();
drawCharts();
update();
drawNav();
if (cards.length === 1) drawOnly(cards[0]);
addEventListener('hashchange', openHash);
if (!matchMedia('(prefers-reduced-motion: reduce)').matches) play(true);
openHash();
