// The sheet of one job: its film, its curves, its numbers, its files, how it was run.

const shown = {job: null, take: null, type: ''};
let moves = [];
let opener = null;

function openDetail(job, take) {
  const dialog = place('detail');
  hideTip();
  if (!dialog.open) {
    opener = document.activeElement;
    shown.type = view.show;
    dialog.append(place('bar')); // the one transport, where it can be reached
    dialog.showModal();
  }
  drawDetail(job, take);
}

function closeDetail() {
  dropDetail();
  document.body.append(place('bar'));
  place('detail').querySelector('.body').remove();
  setSpan(...gallerySpan);
  const back = cards.find((self) => self.job === shown.job && self.take === shown.take);
  if (opener && opener.matches('.open') && back && back.node.isConnected) {
    focusCard(back);
  } else if (opener && opener.isConnected) opener.focus();
}

function focusCard(self) {
  for (const other of cards) other.open.setAttribute('tabindex', other === self ? '0' : '-1');
  self.open.focus();
}

function dropDetail() {
  for (const move of moves) heads.delete(move);
  moves = [];
  const stage = place('detail').querySelector('.stage');
  if (stage) empty(stage);
}

function neighbours() {
  const list = [...place('gallery').querySelectorAll('.card')].map((node) => cards.find((self) => self.node === node));
  const at = list.findIndex((self) => self.job === shown.job && self.take === shown.take);
  return [list[at - 1], list[at + 1]];
}

function drawDetail(job, take) {
  dropDetail();
  Object.assign(shown, {job, take});
  const dialog = place('detail');
  const [before, after] = neighbours();
  const go = (self, label, sign, keys) => el('button.plain.go', {type: 'button', disabled: !self, 'aria-label': label, title: `${label} (${keys})`, click: () => {
    drawDetail(self.job, self.take);
    const again = dialog.querySelector(`[aria-label="${label}"]`);
    if (!again.disabled) again.focus();
  }}, sign);
  const body = el('div.body', {tabindex: '-1'},
    el('div.top', {}, el('h2', {id: 'detail-title'}, el('span.number', {}, job.number), ' ', job.status === 'done' ? '' : el('span.status', {'data-status': job.status}, job.status)),
      el('span.pairs', {}, DATA.axes.filter((axis) => axis.key !== 'prompt').map((axis) => el('span.pair', {}, el('i', {}, axis.label), ` ${axis.names[job.axes[DATA.axes.indexOf(axis)]]}`)),
        take && take.sample !== null ? el('span.pair', {}, el('i', {}, 'sample'), ` ${take.sample}`) : ''),
      el('span.goes', {}, go(before, 'Previous', '‹', '←'), go(after, 'Next', '›', '→'), el('button.plain.go.close', {type: 'button', 'aria-label': 'Close', title: 'Close (Esc)', click: () => dialog.close()}, '×'))),
    columnsOf(job, take));
  const old = dialog.querySelector('.body');
  if (old) old.replaceWith(body);
  else dialog.prepend(body);
  moves = drawPanels(body, take);
  body.focus({preventScroll: true});
  schedule();
}

const columnsOf = (job, take) => el('div.columns', {}, el('div.left', {}, stageOf(job, take)), el('div.right', {}, facts(job, take)));

// A page of one rollout is its sheet.
function drawOnly({job, take}) {
  shown.type = types[0] || '';
  setSpan(0, 0);
  place('gallery').replaceChildren(columnsOf(job, take));
  drawPanels(place('gallery'), take);
  place('bar').hidden = !clock.duration;
}

function stageOf(job, take) {
  if (!take) return el('p.hole.stage', {}, job.error || job.status);
  const files = take.files.filter(viewable).sort((a, b) => rank(a.type) - rank(b.type));
  const stage = el('div.frame.stage');
  const pick = (file) => {
    shown.type = file ? file.type : shown.type;
    if (file && file.size) stage.style.setProperty('--ratio', `${file.size[0]} / ${file.size[1]}`);
    show(stage, file);
    if (file && file.seconds > clock.duration) setSpan(file.seconds, file.fps); // longer than those of the gallery
  };
  const first = files.find((file) => file.type === shown.type) || files[0];
  pick(first);
  const names = files.map((file) => [file.href, files.filter((other) => other.type === file.type).length > 1 ? file.name : words(file.type)]);
  return [stage, files.length > 1 ? choice('What the stage shows', names, first && first.href, (href) => pick(files.find((file) => file.href === href))) : ''];
}

function drawPanels(body, take) {
  if (!take || !take.curves) return [];
  const holder = el('div.panels');
  body.querySelector('.left').append(holder);
  const drawn = panels(take, Math.max(holder.clientWidth, 260));
  holder.append(...drawn.map(({node}) => node));
  const placed = take.fps ? drawn.map(({move}) => move) : [];
  for (const move of placed) {
    heads.add(move);
    move(shownTime());
  }
  return placed;
}

function facts(job, take) {
  const list = (rows) => el('dl.rows', {}, rows.map(([key, value]) => el('div', {}, el('dt', {}, key), el('dd', {}, value))));
  const prompt = job.prompt && jobs.length > 1 ? el('blockquote', {}, job.prompt) : '';
  const metrics = measurements(job);
  const files = [...(take ? take.files : []), ...job.links];
  const others = job.takes.filter((other) => other !== take);
  return [
    prompt,
    job.error ? el('div.failure', {}, el('p', {}, job.error), job.stage ? el('small', {}, `in stage ${job.stage}`) : '') : '',
    ...metrics,
    others.length ? el('p.samples', {}, 'Other samples: ', others.map((other) => el('button.plain', {type: 'button', click: () => drawDetail(job, other)}, String(other.sample)))) : '',
    job.differs.length ? section('What differs', list(job.differs), true) : '',
    files.length ? section('Files', el('table.files', {}, el('tbody', {}, files.map((file) => el('tr', {}, el('td', {}, el('a', {href: file.href}, file.name)), el('td', {}, file.shape || words(file.type)), el('td.num', {}, bytes(file.bytes)))))), true) : '',
    (take ? take.files : []).filter((file) => file.kind === 'sound').map((file) => el('audio', {controls: true, preload: 'none', src: file.href})),
    job.spent.length ? section(`Time ${duration(job.seconds)}`, list(job.spent.map(([key, seconds]) => [key, duration(seconds)])), false) : '',
    section('How it was run', list([...(take && take.seed !== null ? [['seed', String(take.seed)]] : []), ...job.facts.filter(([key]) => key !== 'seed'), ['overrides', job.overrides || 'none'], ...DATA.facts.filter(([key]) => key !== 'seed')]), false),
  ];
}

// What was measured: each value with its variants (baselines, single bodies) below it, the rest folded.
function measurements(job) {
  const columns = DATA.metrics.map((column, index) => ({...column, index, number: job.metrics[index]})).filter((column) => isNumber(column.number));
  const mains = columns.filter((column) => column.main);
  const row = (column, variants) => {
    const best = column.number === bestOf(column.index, jobs);
    return el('tr', {title: column.meaning}, el('th', {scope: 'row'}, words(column.value), ` ${arrow(column.better)} `, el('small', {}, column.metric),
      variants.length ? el('small.variants', {}, variants.map((other) => el('span', {title: other.meaning}, `${words(other.value.slice(column.value.length + 1))} ${number(other.number)}`))) : ''),
    el('td.num', {title: String(column.number)}, best ? el('span.mark', {'aria-label': 'best'}, '●') : '', withUnit(column.number, column.unit)));
  };
  const variantsOf = (column) => columns.filter((other) => other.of === column.index);
  const rest = columns.filter((column) => !column.main && !mains.some((other) => other.index === column.of));
  const table = (rows) => el('table.measured', {}, el('tbody', {}, rows));
  return [mains.length ? table(mains.map((column) => row(column, variantsOf(column)))) : '',
    rest.length ? section('Other numbers', table(rest.map((column) => row(column, []))), !mains.length) : ''];
}

function section(title, content, open) {
  return el('details.section', {open}, el('summary', {}, title), content);
}
