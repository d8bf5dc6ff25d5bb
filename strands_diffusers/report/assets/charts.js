// Scores against what was swept: a dot for each job, the mean of those that can be compared, its interval, its baseline.

const NEVER_BEST = /^(prompt|observation|condition|domain)\b/; // rollouts of different requests are not ranked

let chartMetric = -1;

const dotsOf = (chart) => jobs.filter((job) => job.status === 'done' && !job.same_as && isNumber(job.metrics[chart.metric]))
  .map((job) => ({job, at: chart.axis === null ? 0 : job.axes[chart.axis], value: job.metrics[chart.metric]}));

// Whether there is anything to compare: two values of the key that were scored, or the spread over seeds.
const tells = (chart) => chart.axis === null || new Set(dotsOf(chart).map((dot) => dot.at)).size > 1;

function drawCharts() {
  const charts = DATA.charts.filter(tells);
  const metrics = [...new Set(charts.map((chart) => chart.metric))];
  place('charts').hidden = !metrics.length;
  if (!metrics.length) return;
  if (!metrics.includes(chartMetric)) chartMetric = metrics.includes(keyMetric()) ? keyMetric() : metrics[0];
  const names = metrics.map((index) => [index, `${DATA.metrics[index].metric}.${DATA.metrics[index].value}`]);
  const select = el('select', {'aria-label': 'Score', id: 'score', change: () => { chartMetric = Number(select.value); drawCharts(); place('score').focus(); }},
    names.map(([value, name]) => el('option', {value, selected: value === chartMetric}, name)));
  place('charts').replaceChildren(
    el('div.heading', {}, el('h2', {}, 'Scores against what was swept'), el('small', {}, DATA.metrics[chartMetric].meaning), metrics.length > 1 ? select : ''),
    el('div.charts', {}, charts.filter((chart) => chart.metric === chartMetric).map(drawChart)));
}

function drawChart(chart) {
  const metric = DATA.metrics[chart.metric];
  const axis = chart.axis === null ? {key: 'seed', label: 'all jobs', values: ['']} : DATA.axes[chart.axis];
  const dots = dotsOf(chart);
  const few = chart.points.some((point) => point.low === null);
  const top = winner(chart, metric, axis);
  const says = chart.points.length
    ? `Means over ${chart.over}${chart.over === 'observations' ? ', seeds averaged first' : ''}${few ? '; fewer than 5 have no interval' : '; bars: 95 % intervals'}${top ? '; ● best, and its interval holds no other mean' : ''}.`
    : 'No two values share a rollout that differs in nothing else: single jobs only.';
  const baselines = baselinesOf(chart);
  const some = chart.points.some((point) => point.low !== null);
  const rows = chart.points.map((point) => el('tr', {}, el('th', {scope: 'row', title: axis.values[point.at]}, axis.values[point.at] || plural(dots.length, 'job')),
    el(point === top ? 'td.num.best' : 'td.num', {title: String(point.mean)}, point === top ? el('span.mark', {'aria-label': 'best'}, '●') : '', number(point.mean)),
    some ? el('td.num', {}, point.low === null ? '' : `${number(point.low)} to ${number(point.high)}`) : '', el('td.num', {}, String(point.n)),
    baselines.map((name) => el('td.num', {}, number(baselineOf(point, name))))));
  return el('figure.chart', {}, el('figcaption', {}, el('span', {}, axis.label), el('small', {}, says)),
    drawDots(chart, metric, axis, dots),
    rows.length ? el('div.scroll', {tabindex: '0', role: 'region', 'aria-label': `Means by ${axis.label}`}, el('table', {}, el('thead', {}, el('tr', {}, el('th', {scope: 'col'}, axis.label), el('th.num', {scope: 'col'}, words(metric.value), el('small', {}, ` ${[metric.unit, arrow(metric.better)].filter(Boolean).join(' ')}`)),
      some ? el('th.num', {scope: 'col'}, '95 % interval') : '', el('th.num', {scope: 'col', title: `Number of ${chart.over}`}, 'n'), baselines.map((name) => el('th.num', {scope: 'col', title: 'baseline'}, words(name))))), el('tbody', {}, rows))) : '');
}

// The point whose mean is best beyond doubt: its interval holds no other mean.
function winner(chart, metric, axis) {
  if (!arrow(metric.better) || NEVER_BEST.test(axis.key) || chart.points.length < 2) return null;
  const best = [...chart.points].sort((a, b) => (metric.better === 'higher' ? b.mean - a.mean : a.mean - b.mean))[0];
  const inside = (point) => point.mean >= best.low && point.mean <= best.high;
  return best.low !== null && !chart.points.some((point) => point !== best && inside(point)) ? best : null;
}

const baselinesOf = (chart) => [...new Set(chart.points.flatMap((point) => point.baselines.map(([name]) => name)))];
const baselineOf = (point, name) => (point.baselines.find(([other]) => other === name) || [])[1];

// Values as labels of at most some letters: without the words that all of them begin with, where they are too long.
function labels(values, letters) {
  if (values.every((value) => value.length <= letters)) return values;
  let same = 0;
  while (values.length > 1 && values.every((value) => value[same] === values[0][same])) same += 1;
  const start = values[0].lastIndexOf(' ', same) + 1;
  return values.map((value) => clip(start > 3 ? `…${value.slice(start)}` : value, letters));
}

function drawDots(chart, metric, axis, dots) {
  const [width, height, left, bottom] = [Math.max(380, 64 + 64 * axis.values.length), 210, 56, 34];
  const lines = chart.points.flatMap((point) => [point.mean, point.low, point.high, ...point.baselines.map(([, value]) => value)]).filter(isNumber);
  const all = [...dots.map((dot) => dot.value), ...lines];
  let [low, high] = [Math.min(...all), Math.max(...all)];
  const margin = 0.08 * (high - low) || Math.abs(high) * 0.05 || 0.5;
  [low, high] = [low - margin, high + margin];
  const cell = (width - left - 8) / axis.values.length;
  const x = (at) => left + cell * (at + 0.5);
  const y = (value) => 8 + ((height - bottom - 16) * (high - value)) / (high - low);
  const count = dots.map((dot, index) => dots.slice(0, index).filter((other) => other.at === dot.at).length);
  const spread = (index) => (count[index] % 2 ? -1 : 1) * (Math.ceil(count[index] / 2) % 5) * Math.min(6, cell / 12); // side by side, the same every time
  const baselines = baselinesOf(chart).slice(0, 1);
  const shown = labels(axis.values, Math.max(4, Math.floor(cell / 7)));
  const joined = axis.values.every((value) => value.trim() !== '' && !Number.isNaN(Number(value)));
  const drawing = svg('svg', {viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': `${metric.value} by ${axis.label}`},
    svg('rect.back', {x: left, y: 8, width: width - left - 8, height: height - bottom - 16}),
    ticks(low, high, 5).map((value) => [svg('line.grid', {x1: left, x2: width - 8, y1: y(value), y2: y(value)}), svg('text', {x: left - 8, y: y(value) + 4, 'text-anchor': 'end'}, number(value))]),
    axis.values.map((value, at) => svg('text', {x: x(at), y: height - bottom + 10, 'text-anchor': 'middle'}, svg('title', {}, value), shown[at])),
    baselines.map((name) => [svg('polyline.baseline', {points: chart.points.filter((point) => isNumber(baselineOf(point, name))).flatMap((point) => [-0.5, 0.5].map((side) => `${(x(point.at) + side * cell).toFixed(1)},${y(baselineOf(point, name)).toFixed(1)}`)).join(' ')})]),
    dots.map((dot, index) => svg('circle.dot', {cx: (x(dot.at) + spread(index)).toFixed(1), cy: y(dot.value).toFixed(1), r: 3.2, click: () => openDetail(dot.job, dot.job.samples[0] || null)}, svg('title', {}, `job ${dot.job.number}: ${withUnit(dot.value, metric.unit)}`))),
    joined && chart.points.length > 1 ? svg('polyline.means', {points: chart.points.map((point) => `${x(point.at).toFixed(1)},${y(point.mean).toFixed(1)}`).join(' ')}) : '',
    chart.points.map((point) => [
      point.low === null ? '' : svg('path.interval', {d: `M${x(point.at) - 5} ${y(point.low)}h10m-5 0V${y(point.high)}m-5 0h10`}),
      svg('rect.mean', {x: x(point.at) - 5, y: y(point.mean) - 5, width: 10, height: 10, transform: `rotate(45 ${x(point.at)} ${y(point.mean)})`}, svg('title', {}, `mean ${withUnit(point.mean, metric.unit)}, n = ${point.n}`))]));
  const key = el('p.key', {}, el('span', {}, el('i.dot'), ' a job'), chart.points.length ? el('span', {}, el('i.mean'), ' mean') : '', baselines.map((name) => el('span', {}, svg('svg.dash', {width: 26, height: 8, 'aria-hidden': 'true'}, svg('line', {x1: 0, x2: 26, y1: 4, y2: 4})), ` ${words(name)}`)));
  return [el('div.plot', {tabindex: width > 380 ? '0' : false}, drawing), key];
}
