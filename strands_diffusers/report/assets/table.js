// The table of jobs, one row each, and the tables that an evaluation left.

function drawTable(shown) {
  const section = place('table');
  section.hidden = jobs.length < 2;
  if (section.hidden) return;
  const columns = [...view.columns].sort((a, b) => a - b);
  const best = new Map(columns.map((index) => [index, bestOf(index, shown.map((job) => [job, job.metrics[index]]))]));
  const heads = [
    head('number', 'job'),
    ...(new Set(jobs.map(stateOf)).size > 1 ? [head('status', 'status')] : []),
    ...DATA.axes.map((axis, index) => head(`axis:${index}`, axis.label, axis.key)),
    ...columns.map((index) => metricHead(index)),
    head('seconds', el('span', {}, 'time'), 'Wall time of the job', 'num'),
  ];
  const rows = sorted(shown).map((job) => el('tr', {'data-job': job.number, 'data-status': job.status},
    el('th', {scope: 'row'}, el('button.plain', {type: 'button', click: () => openDetail(job, job.samples[0] || null)}, job.number)),
    heads.length > 1 && heads[1].dataset.key === 'status' ? el('td.status', {title: job.problems.join('\n')}, stateOf(job)) : '',
    DATA.axes.map((axis, index) => el('td.value', {title: axis.values[job.axes[index]]}, axis.values[job.axes[index]])),
    columns.map((index) => metricCell(index, job, best.get(index))),
    el('td.num', {}, duration(job.seconds))));
  section.replaceChildren(
    el('div.heading', {}, el('h2', {}, 'Jobs'), el('small', {}, legend(columns, shown)), columnMenu()),
    el('div.scroll', {tabindex: '0', role: 'region', 'aria-label': 'Table of jobs'}, el('table', {}, el('thead', {}, el('tr', {}, heads)), el('tbody', {}, rows))));
}

function legend(columns, shown) {
  const parts = [];
  if (columns.some((index) => arrow(DATA.metrics[index].better))) parts.push(contexts(shown) > 1 ? '● best of one prompt, observation and condition' : '● best of the jobs shown');
  if (shown.some((job) => job.samples.length > 1)) parts.push('each number is the mean over the samples of its job');
  return parts.join(' · ');
}

function head(key, label, title, kind) {
  const active = view.sort.key === key;
  const cell = el('th', {scope: 'col', title, 'data-key': key, 'aria-sort': active ? (view.sort.down ? 'descending' : 'ascending') : 'none'},
    el('button.plain', {type: 'button', click: () => sortBy(key)}, label));
  if (kind) cell.classList.add(kind);
  return cell;
}

function metricHead(index) {
  const {metric, value, unit, better, meaning} = DATA.metrics[index];
  const facts = [unit, arrow(better)].filter(Boolean).join(' ');
  return head(`metric:${index}`, [el('small', {}, metric), el('span', {}, words(value), facts ? el('small', {}, ` ${facts}`) : '')], `${metric}.${value}: ${meaning}`, 'num');
}

function metricCell(index, job, best) {
  const value = job.metrics[index];
  if (!isNumber(value)) return el('td.num', {}, '');
  const mark = best(job, value);
  return el(mark ? 'td.num.best' : 'td.num', {title: String(value)}, mark ? el('span.mark', {'aria-label': 'best'}, '●') : '', number(value));
}

function sortBy(key) {
  const [kind, index] = key.split(':');
  const first = kind === 'metric' && DATA.metrics[index].better === 'higher'; // the best one on top
  view.sort = view.sort.key === key ? {key, down: !view.sort.down} : {key, down: first};
  update();
  const again = place('table').querySelector(`th[data-key="${key}"] button`);
  if (again) again.focus({preventScroll: true});
}

function columnMenu() {
  if (!DATA.metrics.some((column) => !column.main)) return '';
  const body = DATA.metrics.map(({metric, value}, index) => checkbox(`${metric}.${value}`, view.columns.has(index), (on) => {
    if (on) view.columns.add(index);
    else view.columns.delete(index);
    update();
    const open = place('table').querySelector('.menu');
    open.open = true;
    open.querySelectorAll('input')[index].focus();
  }));
  return menu('Columns', body, 'Which metrics the table shows');
}

// Tables, pictures and verdicts of sweep.json, and what plugins show.
function drawTables() {
  place('tables').hidden = !DATA.tables.length && !DATA.pictures.length && !DATA.panels.length;
  place('tables').replaceChildren(...DATA.tables.map((table) => block(words(table.name), table.note, plainTable(table))),
    ...DATA.pictures.map(({name, href}) => block(words(name), '', el('a.picture', {href, title: 'Open the picture'}, el('img', {src: href, alt: name, loading: 'lazy'})))),
    ...DATA.panels.map(({title, table, html}) => block(title, table ? table.note : '', table ? plainTable(table) : foreign(title, html))));
  place('verdicts').hidden = !DATA.verdicts.length;
  place('verdicts').replaceChildren(...DATA.verdicts.map(({name, verdict, holds, numbers}) => el('div.verdict', {'data-holds': String(holds)},
    el('h2', {}, words(name), holds === null ? '' : el('span.holds', {}, holds ? 'passes' : 'does not pass')), el('p', {}, verdict),
    numbers.length ? section('The numbers', el('dl.numbers', {}, numbers.map(([key, value]) => el('div', {}, el('dt', {}, key), el('dd', {}, value.trim() === '' || Number.isNaN(Number(value)) ? value : number(Number(value)))))), false) : '')));
}

const block = (title, note, content) => el('div', {}, el('div.heading', {}, el('h2', {}, title), note ? el('small', {}, note) : ''), content);

function plainTable({name, columns, rows}) {
  const cell = (value) => (isNumber(value) ? el('td.num', {title: String(value)}, number(value)) : el('td', {}, value));
  const heads = columns.map((column, index) => el(rows.some((row) => isNumber(row[index])) ? 'th.num' : 'th', {scope: 'col'}, words(column)));
  return el('div.scroll', {tabindex: '0', role: 'region', 'aria-label': name || 'Table'}, el('table', {}, el('thead', {}, el('tr', {}, heads)), el('tbody', {}, rows.map((row) => el('tr', {}, row.map(cell))))));
}

// HTML of a plugin, in a frame of its own in which no script runs and nothing is fetched.
function foreign(title, html) {
  const policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; style-src \'unsafe-inline\'; img-src data:"><style>:root{color-scheme:light dark}body{font:15px/1.45 sans-serif;margin:0}</style>';
  const frame = el('iframe', {title, sandbox: 'allow-same-origin', srcdoc: policy + html});
  frame.addEventListener('load', () => { frame.style.height = `${Math.min(frame.contentDocument.documentElement.scrollHeight + 4, 2000)}px`; });
  return frame;
}
