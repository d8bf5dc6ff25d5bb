// The sheet of one job: its video, its curves, its numbers, its files, how it was made and run.

const shown = {job: null, sample: null, type: ''};
let moves = [];
let opener = null;

function openDetail(job, sample) {
  const dialog = place('detail');
  hideTip();
  if (!dialog.open) {
    opener = document.activeElement;
    shown.type = view.show;
    dialog.append(place('bar')); // the one transport, where it can be reached
    dialog.showModal();
  }
  drawDetail(job, sample);
}

function closeDetail() {
  setHash('');
  dropDetail();
  document.body.append(place('bar'));
  place('detail').querySelector('.body').remove();
  setSpan(...gallerySpan);
  const back = cards.find((self) => self.job === shown.job && self.sample === shown.sample);
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
  const at = list.findIndex((self) => self.job === shown.job && self.sample === shown.sample);
  return [list[at - 1], list[at + 1]];
}

function drawDetail(job, sample) {
  dropDetail();
  Object.assign(shown, {job, sample});
  const dialog = place('detail');
  const [before, after] = neighbours();
  const go = (self, label, sign, keys) => el('button.plain.go', {type: 'button', disabled: !self, 'aria-label': label, title: `${label} (${keys})`, click: () => {
    drawDetail(self.job, self.sample);
    const again = dialog.querySelector(`[aria-label="${label}"]`);
    if (!again.disabled) again.focus();
  }}, sign);
  const body = el('div.body', {tabindex: '-1'},
    el('div.top', {}, el('h2', {id: 'detail-title'}, el('span.number', {}, job.number), ' ', stateOf(job) === 'done' ? '' : el('span.status', {'data-status': stateOf(job)}, stateOf(job))),
      el('span.pairs', {}, DATA.axes.filter((axis) => axis.key !== 'prompt').map((axis) => el('span.pair', {}, el('i', {}, axis.label), ` ${axis.values[job.axes[DATA.axes.indexOf(axis)]]}`)),
        sample && sample.index !== null ? el('span.pair', {}, el('i', {}, 'sample'), ` ${sample.index}`) : ''),
      el('span.goes', {}, go(before, 'Previous', '‹', '←'), go(after, 'Next', '›', '→'), el('button.plain.go.close', {type: 'button', 'aria-label': 'Close', title: 'Close (Esc)', click: () => dialog.close()}, '×'))),
    columnsOf(job, sample));
  const old = dialog.querySelector('.body');
  if (old) old.replaceWith(body);
  else dialog.prepend(body);
  moves = drawPanels(body, sample);
  setHash(hashOf(job, sample));
  body.focus({preventScroll: true});
  schedule();
}

const columnsOf = (job, sample) => el('div.columns', {}, el('div.left', {}, stageOf(job, sample)), el('div.right', {}, facts(job, sample)));

// A page of one rollout is its sheet.
function drawOnly({job, sample}) {
  shown.type = types[0] || '';
  setSpan(0, 0);
  place('gallery').replaceChildren(columnsOf(job, sample));
  drawPanels(place('gallery'), sample);
  place('bar').hidden = !clock.duration;
}

function stageOf(job, sample) {
  if (!sample) return el('p.hole.stage', {}, job.error || job.status);
  const files = sample.files.filter(viewable).sort((a, b) => rank(a.type) - rank(b.type));
  const stage = el('div.frame.stage');
  const pick = (file) => {
    shown.type = file ? file.type : shown.type;
    if (file && file.size) stage.style.setProperty('--ratio', `${file.size[0]} / ${file.size[1]}`);
    show(stage, file);
    if (file && file.seconds > clock.duration) setSpan(file.seconds, file.fps); // longer than those of the gallery
  };
  const first = files.find((file) => file.type === shown.type) || files[0];
  pick(first);
  const names = files.map((file) => [file.href, files.filter((other) => other.type === file.type).length > 1 ? file.name : typeName(file.type)]);
  return [stage, files.length > 1 ? choice('What the stage shows', names, first && first.href, (href) => pick(files.find((file) => file.href === href))) : ''];
}

function drawPanels(body, sample) {
  if (!sample || !sample.curves) return [];
  const holder = el('div.panels');
  body.querySelector('.left').append(holder);
  const drawn = panels(sample, Math.max(holder.clientWidth, 260));
  holder.append(...drawn.map(({node}) => node));
  const placed = sample.fps ? drawn.map(({move}) => move) : [];
  for (const move of placed) {
    heads.add(move);
    move(shownTime());
  }
  return placed;
}

function facts(job, sample) {
  const list = (rows) => el('dl.rows', {}, rows.map(([key, value]) => el('div', {}, el('dt', {}, key), el('dd', {}, value))));
  const prompt = job.prompt && jobs.length > 1 ? el('blockquote', {}, job.prompt) : '';
  const metrics = measurements(job, sample);
  const files = [...(sample ? sample.files : []), ...job.links];
  const others = job.samples.filter((other) => other !== sample);
  const rows = (pairs) => list(pairs.filter(([key]) => key !== 'seed'));
  return [
    prompt,
    job.error ? el('div.failure', {}, el('p', {}, job.error), job.stage ? el('small', {}, `in stage ${job.stage}`) : '') : '',
    job.problems.length ? el('ul.problems', {}, job.problems.map((problem) => el('li', {}, problem))) : '',
    job.same_as ? el('p', {}, `The same rollout as job ${job.same_as}: both ask for the same.`) : '',
    job.observed ? observedOf(job) : '',
    job.reference ? el('p.reference', {}, el('small', {}, job.reference)) : '',
    ...metrics,
    others.length ? el('p.samples', {}, 'Other samples: ', others.map((other) => el('button.plain', {type: 'button', click: () => drawDetail(job, other)}, String(other.index)))) : '',
    commandOf(job),
    job.differs.length ? section('What differs', list(job.differs), true) : '',
    files.length ? section('Files', el('table.files', {}, el('tbody', {}, files.map((file) => el('tr', {}, el('td', {}, el('a', {href: file.href}, file.name)), el('td', {}, file.shape || words(file.type)), el('td.num', {}, bytes(file.bytes)))))), true) : '',
    (sample ? sample.files : []).filter((file) => file.kind === 'sound').map((file) => el('audio', {controls: true, preload: 'none', src: file.href})),
    job.spent.length ? section(`Time ${duration(job.seconds)}`, list(job.spent.map(([key, seconds]) => [key, duration(seconds)])), false) : '',
    DATA.settings.length ? section('How it was made', rows([...(sample && sample.seed !== null ? [['seed of this sample', String(sample.seed)]] : []), ...job.differs, ...DATA.settings]), false) : '',
    section('How it was run', rows([...job.facts, ...DATA.facts]), false),
  ];
}

// One line that makes the job again, and a button that copies it.
function commandOf(job) {
  const code = el('code', {}, job.command);
  const button = el('button', {type: 'button', click: () => copy(code, button)}, 'Copy');
  return el('div.command', {}, code, button);
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = 'Copied';
  } catch { // no clipboard here: select it, for the keyboard
    getSelection().selectAllChildren(code);
    button.textContent = 'Selected';
  }
}

// The page's own address of a job and a moment: #job=7, #job=7&sample=2, #t=1.2.
const hashOf = (job, sample) => `#job=${encodeURIComponent(job.number)}${sample && sample.index ? `&sample=${sample.index}` : ''}`;

function setHash(hash) {
  if (location.hash !== hash) history.replaceState(null, '', hash || location.pathname + location.search);
}

function openHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  if (asked.has('t')) {
    play(false);
    seek(Number(asked.get('t')) || 0);
  }
  const job = jobs.find((other) => other.number === asked.get('job'));
  if (!job || cards.length === 1) return;
  openDetail(job, job.samples.find((sample) => sample.index === Number(asked.get('sample'))) || job.samples[0] || null);
}

// What was measured of this sample: each value with its variants (baselines, single bodies) below it, the rest folded.
function measurements(job, sample) {
  if (!sample) return [];
  const several = job.samples.length > 1;
  const columns = DATA.metrics.map((column, index) => ({...column, index, number: sample.metrics[index]})).filter((column) => isNumber(column.number));
  const mains = columns.filter((column) => column.main);
  const everyone = jobs.flatMap((other) => other.samples.map((one) => [other, one]));
  const row = (column, variants) => {
    const best = bestOf(column.index, everyone.map(([other, one]) => [other, one.metrics[column.index]]))(job, column.number);
    const notes = [...(several ? [el('span', {title: `Over the ${job.samples.length} samples of this job`}, `mean of ${job.samples.length} samples ${number(job.metrics[column.index])}`)] : []),
      ...variants.map((other) => el('span', {title: other.meaning}, `${words(other.value.slice(column.value.length + 1))} ${number(other.number)}`))];
    return el('tr', {title: column.meaning}, el('th', {scope: 'row'}, words(column.value), ` ${arrow(column.better)} `, el('small', {}, column.metric),
      notes.length ? el('small.variants', {}, notes) : ''),
    el('td.num', {title: String(column.number)}, best ? el('span.mark', {'aria-label': 'best'}, '●') : '', withUnit(column.number, column.unit)));
  };
  const variantsOf = (column) => columns.filter((other) => other.of === column.index);
  const rest = columns.filter((column) => !column.main && !mains.some((other) => other.index === column.of));
  const table = (list) => el('table.measured', {}, el('tbody', {}, list));
  return [mains.length ? table(mains.map((column) => row(column, variantsOf(column)))) : '',
    rest.length ? section('Other numbers', table(rest.map((column) => row(column, []))), !mains.length) : ''];
}

function section(title, content, open) {
  return el('details.section', {open}, el('summary', {}, title), content);
}
