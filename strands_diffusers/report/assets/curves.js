// Action curves: a strip below each video, panels in a job's sheet, values wherever one points.
// Step s leads from frame s to frame s + 1, so its point stands at s + 1/2 and the playhead at time * fps.

const PICKED = new Set(['rot6d', 'fingertip']); // too many lines for a strip, where a domain has others

function stepsOf(curves) {
  return curves.values[0].length;
}

// [{panel, curve, values, truth}] in the order in which the layout stores them.
function linesOf(curves) {
  const truths = curves.truth === null ? [] : DATA.truths[curves.truth];
  let row = 0;
  return DATA.layouts[curves.layout].panels.flatMap((panel) => panel.curves.map((curve) => ({panel, curve, row, truth: truths[row], values: curves.values[row++]})));
}

// The lines of a strip: those that a person reads at a glance.
function stripLines(curves) {
  const all = linesOf(curves);
  const some = all.filter(({panel}) => !PICKED.has(panel.kind));
  return some.length ? some : all;
}

// What the colours and dashes of the strips mean, once above the gallery.
function stripLegend(samples) {
  const drawn = samples.filter((sample) => sample && sample.curves);
  const kinds = [...new Set(drawn.map((sample) => sample.curves.layout))];
  if (!drawn.length || kinds.length > 2) return '';
  const words_ = kinds.map((kind) => {
    const {curves} = drawn.find((sample) => sample.curves.layout === kind);
    const lines = stripLines(curves);
    return el('span.legend', {}, el('small', {}, `${[...new Set(lines.map(({panel}) => panel.title))].join(', ')}:`), lines.map(({curve}) => el('b', {'--c': curve.colour}, curve.label)));
  });
  const dashes = drawn.some((sample) => sample.curves.truth !== null) ? el('span', {}, svg('svg.dash', {width: 26, height: 8, 'aria-hidden': 'true'}, svg('line', {x1: 0, x2: 26, y1: 4, y2: 4})), ' observed') : '';
  return el('p.key', {}, words_, dashes);
}

function strip(sample) {
  const lines = stripLines(sample.curves);
  const steps = stepsOf(sample.curves);
  const level = ({curve}, value) => ((value - curve.low) / (curve.high - curve.low || 1)) * 2 - 1; // back to model space
  const levels = lines.map((line) => line.values.map((value) => level(line, value)));
  const truths = lines.map((line) => (line.truth || []).map((value) => level(line, value)));
  const reach = Math.max(1, ...[...levels, ...truths].flat().map(Math.abs));
  const y = (value) => 20 - (18 * value) / reach;
  const drawing = svg('svg', {viewBox: `0 0 ${steps} 40`, preserveAspectRatio: 'none', 'aria-hidden': 'true'},
    (reach > 1 ? [-1, 0, 1] : [0]).map((value) => svg('line.grid', {x1: 0, x2: steps, y1: y(value), y2: y(value)})),
    [[truths, 'polyline.truth'], [levels, 'polyline']].flatMap(([rows, tag]) => lines.map((line, index) => svg(tag, {'--c': line.curve.colour, points: rows[index].map((value, s) => `${s + 0.5},${y(value).toFixed(2)}`).join(' ')}))));
  const head = el('i.head');
  return {drawing, head, move: mover(head, sample.fps, steps)};
}

// A function that places a playhead at a time.
function mover(head, fps, steps) {
  if (!fps) return () => {};
  return (time) => { head.style.left = `${Math.min((100 * time * fps) / steps, 100).toFixed(2)}%`; };
}

function stepAt(event, element, steps) {
  const box = element.getBoundingClientRect();
  return Math.min(Math.max(Math.floor(((event.clientX - box.left) / box.width) * steps), 0), steps - 1);
}

const reading = (value) => number(Number(value.toPrecision(3)));

// The values of one step, panel by panel.
function showTip(sample, step, element, x) {
  const rows = [];
  for (const {panel, curve, values, truth} of linesOf(sample.curves)) {
    let row = rows.at(-1);
    if (!row || row.panel !== panel) rows.push((row = {panel, cells: []}));
    row.cells.push(el('span', {'--c': curve.colour}, el('b', {}, curve.label), ` ${reading(values[step])}`, truth ? el('small', {}, ` (${reading(truth[step])})`) : ''));
  }
  const tip = place('tip');
  tip.replaceChildren(el('p.when', {}, `step ${step} `, sample.curves.given ? 'given ' : '', sample.fps ? el('small', {}, `${((step + 0.5) / sample.fps).toFixed(2)}\u202fs`) : ''),
    ...rows.map(({panel, cells}) => el('p', {}, el('small', {}, `${panel.title} · ${panel.unit}`), el('span.cells', {}, cells))));
  tip.hidden = false;
  const box = element.getBoundingClientRect();
  const width = tip.offsetWidth;
  tip.style.left = `${Math.max(8, Math.min(x - width / 2, document.documentElement.clientWidth - width - 8))}px`;
  const below = box.bottom + 8; // beside the video, not over it, where there is room
  tip.style.top = `${below + tip.offsetHeight < place('bar').getBoundingClientRect().top ? below : box.top - tip.offsetHeight - 8}px`;
}

function hideTip() {
  place('tip').hidden = true;
}

// ------------------------------------------------------------------------------------------------ large panels

function panels(sample, width) {
  const steps = stepsOf(sample.curves);
  const chunk = DATA.layouts[sample.curves.layout].chunk;
  const beyond = new Set(sample.curves.beyond.map(([row, s]) => `${row},${s}`));
  const groups = new Map();
  for (const line of linesOf(sample.curves)) {
    if (!groups.has(line.panel)) groups.set(line.panel, []);
    groups.get(line.panel).push(line);
  }
  return [...groups].map(([panel, lines]) => drawPanel(panel, lines, {sample, steps, chunk, beyond, width}));
}

function drawPanel(panel, lines, {sample, steps, chunk, beyond, width}) {
  const height = lines.length > 1 ? 150 : 96;
  const left = 52;
  const values = lines.flatMap((line) => [...line.values, ...(line.truth || []), line.curve.low, line.curve.high]);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.06 * (high - low) || 0.5;
  [low, high] = [low - margin, high + margin];
  const x = (s) => left + ((width - left - 6) * s) / steps;
  const y = (value) => 6 + ((height - 12) * (high - value)) / (high - low);
  const shared = lines.every(({curve}) => curve.low === lines[0].curve.low && curve.high === lines[0].curve.high);
  const drawing = svg('svg', {width, height, viewBox: `0 0 ${width} ${height}`, role: 'img', 'aria-label': `${panel.title} over ${steps} steps`},
    svg('rect.back', {x: left, y: 6, width: width - left - 6, height: height - 12}),
    shared && panel.kind !== 'score' ? svg('rect.band', {x: left, width: width - left - 6, y: y(Math.max(lines[0].curve.high, lines[0].curve.low)), height: Math.abs(y(lines[0].curve.low) - y(lines[0].curve.high))}) : '',
    ticks(low, high, lines.length > 1 ? 4 : 3).map((value) => [
      svg('line.grid', {x1: left, x2: width - 6, y1: y(value), y2: y(value)}),
      svg('text', {x: left - 8, y: y(value) + 4, 'text-anchor': 'end'}, number(value))]),
    Array.from({length: Math.ceil(steps / chunk) - 1}, (_, k) => svg('line.border', {x1: x((k + 1) * chunk), x2: x((k + 1) * chunk), y1: 6, y2: height - 6})),
    lines.map(({curve, truth}) => svg('polyline.truth', {'--c': curve.colour, points: (truth || []).map((value, s) => `${x(s + 0.5).toFixed(1)},${y(value).toFixed(1)}`).join(' ')})),
    lines.map(({curve, values: own, row}) => svg('g', {'--c': curve.colour},
      svg('polyline', {points: own.map((value, s) => `${x(s + 0.5).toFixed(1)},${y(value).toFixed(1)}`).join(' ')}),
      own.map((value, s) => (beyond.has(`${row},${s}`) ? svg('circle.beyond', {cx: x(s + 0.5), cy: y(value), r: 4}) : '')))));
  const readings = lines.map(({curve}) => el('b', {'--c': curve.colour}, curve.label));
  const numbers = lines.map(() => el('span'));
  const head = svg('line.head', {y1: 6, y2: height - 6});
  drawing.append(head);
  const read = (s) => numbers.forEach((cell, index) => { cell.textContent = ` ${reading(lines[index].values[s])}`; });
  let pointed = null;
  const move = (time) => {
    const at = pointed ?? Math.min(Math.floor(time * sample.fps), steps - 1);
    const point = pointed === null ? Math.min(time * sample.fps, steps) : pointed + 0.5;
    head.setAttribute('x1', x(point));
    head.setAttribute('x2', x(point));
    read(at);
  };
  drawing.addEventListener('pointermove', (event) => {
    const box = drawing.getBoundingClientRect();
    pointed = Math.min(Math.max(Math.floor(((event.clientX - box.left - left) / (width - left - 6)) * steps), 0), steps - 1);
    move(0);
  });
  drawing.addEventListener('pointerleave', () => { pointed = null; move(shownTime()); });
  drawing.addEventListener('click', () => { if (pointed !== null && sample.fps) { play(false); seek(pointed / sample.fps); } });
  const node = el('figure.panel', {}, el('figcaption', {}, el('span', {}, panel.title, el('small', {}, ` ${panel.unit}${sample.curves.given ? ' · given' : lines.some(({truth}) => truth) ? ' · dashed: observed' : ''}`)),
    el('span.legend', {}, readings.map((reading, index) => el('span', {}, reading, numbers[index])))), drawing);
  return {node, move};
}

// At most `count` round numbers inside the range.
function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((value) => value >= rough);
  const found = [];
  for (let value = Math.ceil(low / size) * size; value <= high; value += size) found.push(Number(value.toPrecision(6)));
  return found;
}
