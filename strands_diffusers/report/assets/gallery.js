// What is shown and in which order, and the cards of the gallery: one for each sample of each job.

const STATUSES = ['done', 'done with problems', 'failed'];

const view = {
  show: '', // type of the video or picture on the cards
  group: -1, // index of an axis, or -1
  sort: {key: 'number', down: false},
  size: 'medium',
  status: new Set(STATUSES),
  hidden: DATA.axes.map(() => new Set()), // per axis, the values that are filtered out
  columns: new Set(DATA.metrics.map((column, index) => (column.main ? index : -1)).filter((index) => index >= 0)),
};

const jobs = DATA.jobs;
jobs.forEach((job, index) => { job.index = index; });
const stateOf = (job) => (job.status === 'done' && job.problems.length ? STATUSES[1] : job.status);
const viewable = (file) => (file.kind === 'video' || file.kind === 'picture') && file.type !== 'observation';
const typeName = (type) => (type === 'reference' ? 'observed' : words(type));
const fileOf = (sample, type) => (sample ? sample.files.find((file) => viewable(file) && file.type === type) : undefined);
const types = [...new Set(jobs.flatMap((job) => job.samples.flatMap((sample) => sample.files.filter(viewable).map((file) => file.type))))]
  .sort((a, b) => rank(a) - rank(b));

function rank(type) {
  const at = ['video', 'image', 'comparison', 'animation', 'reference', 'timeseries', 'trajectory'].indexOf(type);
  return at < 0 ? 99 : at;
}

const passes = (job) => view.status.has(stateOf(job)) && job.axes.every((value, axis) => !view.hidden[axis].has(value));

// ----------------------------------------------------------------------------------------------------- order

function sortValue(job, key) {
  if (key === 'number') return job.index;
  if (key === 'seconds') return job.seconds;
  if (key === 'status') return stateOf(job);
  const [kind, index] = key.split(':');
  return kind === 'axis' ? job.axes[index] : job.metrics[index];
}

function sorted(list) {
  const {key, down} = view.sort;
  const sign = down ? -1 : 1;
  return [...list].sort((a, b) => {
    const [p, q] = [sortValue(a, key), sortValue(b, key)];
    if (p === q) return a.index - b.index;
    if (p === null || p === undefined) return 1; // what was not measured comes last, whichever way
    if (q === null || q === undefined) return -1;
    return (p < q ? -1 : 1) * sign;
  });
}

// The metric on the cards: the one that orders them, else the first that has a direction.
function keyMetric() {
  const [kind, index] = view.sort.key.split(':');
  if (kind === 'metric') return Number(index);
  return DATA.metrics.findIndex((column) => column.main && arrow(column.better));
}

// A function that says whether a job's value of a metric is the best among `pairs` [job, value]. Only rollouts of one
// prompt, observation and condition can be better than each other, so each such context has a best of its own.
function bestOf(index, pairs) {
  const {better, baseline} = DATA.metrics[index];
  if (!arrow(better) || baseline) return () => false;
  const values = new Map();
  for (const [job, value] of pairs) if (isNumber(value)) values.set(job.context, [...(values.get(job.context) || []), value]);
  const best = new Map([...values].filter(([, some]) => new Set(some).size > 1).map(([context, some]) => [context, (better === 'higher' ? Math.max : Math.min)(...some)]));
  return (job, value) => isNumber(value) && best.get(job.context) === value;
}

const contexts = (list) => new Set(list.map((job) => job.context)).size;

// ----------------------------------------------------------------------------------------------------- cards

const cards = jobs.flatMap((job) => (job.samples.length ? job.samples : [null]).map((sample) => card(job, sample)));

function card(job, sample) {
  const frame = el('div.frame');
  const open = el('button.open', {type: 'button', tabindex: '-1', click: () => openDetail(job, sample)});
  const metric = el('span.metric');
  const node = el('article.card', {'data-job': job.number, 'data-status': job.status}, frame);
  const self = {job, sample, node, frame, open, metric, strip: null, visible: false};
  node.near = (visible) => { self.visible = visible; draw(self); };
  if (sample && sample.curves) {
    self.strip = el('div.strip', {title: sample.curves.given ? 'The actions that were given' : false});
    self.strip.addEventListener('pointermove', (event) => pointAt(self, event));
    self.strip.addEventListener('pointerleave', () => { hideTip(); if (self.cross) self.cross.hidden = true; });
    self.strip.addEventListener('click', () => openDetail(job, sample));
    node.append(self.strip);
  } else if (jobs.some((other) => other.samples.some((one) => one.curves))) {
    node.append(el('div.strip.none')); // keeps the captions of a row on one line
  }
  node.append(el('div.caption', {}, el('h3', {}, open), metric));
  if (job.status === 'failed') node.append(el('p.reason', {title: job.error}, job.error));
  else if (job.problems.length) node.append(el('p.reason', {title: job.problems.join('\n')}, `⚠ ${job.problems[0]}`));
  if (job.same_as) node.append(el('p.same', {}, `the same rollout as job ${job.same_as}`));
  near.observe(node);
  return self;
}

// Give a card near the window its video and its curves; take them from one that has left.
function draw(self) {
  const file = fileOf(self.sample, view.show);
  const shown = self.visible && self.node.isConnected;
  if (!shown) empty(self.frame);
  else if (self.shown !== file || !self.frame.firstChild) {
    show(self.frame, file);
    if (!file) self.frame.append(el('p.hole', {}, holeText(self)));
  }
  self.shown = shown ? file : undefined;
  if (!self.strip) return;
  if (shown && !self.strip.firstChild) {
    const {drawing, head, move} = strip(self.sample);
    self.cross = el('i.cross', {hidden: true});
    self.strip.append(drawing, head, self.cross);
    self.move = move;
    heads.add(move);
    schedule();
  } else if (!shown && self.strip.firstChild) {
    heads.delete(self.move);
    self.strip.replaceChildren();
  }
}

function holeText({job, sample}) {
  if (job.status === 'failed') return `failed${job.stage ? ` · ${job.stage}` : ''}`;
  if (!sample) return job.status;
  return view.show ? `no ${words(view.show)}` : 'no video';
}

function pointAt(self, event) {
  const steps = stepsOf(self.sample.curves);
  const at = stepAt(event, self.strip, steps);
  self.cross.hidden = false;
  self.cross.style.left = `${(100 * (at + 0.5)) / steps}%`;
  showTip(self.sample, at, self.strip, event.clientX);
}

// Words and numbers of a card, as the current grouping and order want them.
function caption(self, best) {
  const {job, sample} = self;
  const parts = [];
  DATA.axes.forEach((axis, index) => {
    if (index !== view.group) parts.push(el(axis.key === 'prompt' ? 'q' : 'span.pair', {}, axis.key === 'prompt' ? axis.values[job.axes[index]] : [el('i', {}, axis.label), ` ${axis.values[job.axes[index]]}`]));
  });
  if (sample && sample.index !== null) parts.push(el('span.pair', {}, el('i', {}, 'sample'), ` ${sample.index}`));
  self.open.replaceChildren(el('span.number', {}, job.number), ...parts.flatMap((part) => [' ', part]));
  self.open.setAttribute('aria-label', `Job ${job.number}, ${job.status}: ${self.open.textContent.slice(job.number.length)}`);
  const index = keyMetric();
  const value = index < 0 || !sample ? undefined : sample.metrics[index];
  const without = sample && job.reference.startsWith('no reference');
  self.metric.textContent = isNumber(value) ? withUnit(value, DATA.metrics[index].unit) : without ? 'no reference' : '';
  self.metric.title = isNumber(value) ? `${DATA.metrics[index].metric}.${DATA.metrics[index].value}` : job.reference;
  self.metric.classList.toggle('best', best(job, value));
  const file = fileOf(sample, view.show) || usual;
  if (file.size) self.node.style.setProperty('--ratio', `${file.size[0]} / ${file.size[1]}`);
}

let usual = {}; // a video of the usual size: a job that failed keeps the place of one
let gallerySpan = [0, 0]; // length [s] of the longest video, and rate [Hz] of the fastest

function drawGallery(shown) {
  if (cards.length === 1) return;
  const list = sorted(shown);
  const order = new Map(list.map((job, index) => [job, index]));
  const mine = cards.filter((self) => order.has(self.job)).sort((a, b) => order.get(a.job) - order.get(b.job));
  const files = mine.map((self) => fileOf(self.sample, view.show)).filter(Boolean);
  usual = files.find((file) => file.size) || {size: [4, 3]};
  const metric = keyMetric();
  const best = metric < 0 ? () => false : bestOf(metric, mine.filter((self) => self.sample).map((self) => [self.job, self.sample.metrics[metric]]));
  for (const self of mine) caption(self, best);
  const groups = view.group < 0 ? [[null, mine]] : DATA.axes[view.group].values
    .map((_, value) => [value, mine.filter((self) => self.job.axes[view.group] === value)]).filter(([, some]) => some.length);
  const gallery = place('gallery');
  gallery.dataset.size = view.size;
  gallery.replaceChildren(stripLegend(mine.map((self) => self.sample)), ...groups.map(([value, some]) => el('div.group', {}, value === null ? '' : groupHead(value, some, metric), el('div.grid', {}, some.map((self) => self.node)))));
  if (!mine.length) gallery.append(el('p.empty', {}, 'No job passes the filters. ', el('button.plain', {type: 'button', click: clearFilters}, 'Show all')));
  mine.forEach((self, index) => self.open.setAttribute('tabindex', index === 0 ? '0' : '-1'));
  for (const self of cards) draw(self);
  gallerySpan = [Math.max(0, ...files.map((file) => file.seconds || 0)), Math.max(0, ...files.map((file) => file.fps || 0))];
  setSpan(...gallerySpan);
}

function groupHead(value, some, metric) {
  const axis = DATA.axes[view.group];
  const own = [...new Set(some.map((self) => self.job))];
  const values = metric < 0 ? [] : own.map((job) => job.metrics[metric]).filter(isNumber);
  const facts = [plural(own.length, 'job')];
  if (values.length > 1) {
    const mean = values.reduce((sum, number_) => sum + number_, 0) / values.length;
    facts.push(`mean ${words(DATA.metrics[metric].value)} ${withUnit(mean, DATA.metrics[metric].unit)}`);
  }
  const title = axis.key === 'prompt' ? el('q', {}, axis.values[value]) : [el('i', {}, axis.label), ` ${axis.values[value]}`];
  return el('h2', {title: axis.values[value]}, el('span', {}, title), el('small', {}, facts.join(' · ')));
}

// Arrow keys move between cards: along the row, and to the nearest card of the next row.
function moveFocus(from, key) {
  const all = [...place('gallery').querySelectorAll('.open')];
  const at = all.indexOf(from);
  let to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1}[key];
  if (to === undefined) {
    const sign = key === 'ArrowDown' ? 1 : -1;
    const mine = from.closest('.card').getBoundingClientRect();
    const boxes = all.map((other) => other.closest('.card').getBoundingClientRect());
    const away = boxes.map((box) => sign * (box.top - mine.top)).filter((gap) => gap > 8);
    const row = Math.min(...away);
    to = boxes.reduce((found, box, index) => (Math.abs(sign * (box.top - mine.top) - row) > 8 ? found
      : found < 0 || Math.abs(box.left - mine.left) < Math.abs(boxes[found].left - mine.left) ? index : found), -1);
  }
  const next = all[to];
  if (!next) return;
  from.setAttribute('tabindex', '-1');
  next.setAttribute('tabindex', '0');
  next.focus();
  next.closest('.card').scrollIntoView({block: 'nearest'});
}
