// The head of the page, what went wrong, and the controls.

function drawHead() {
  const count = (status) => jobs.filter((job) => stateOf(job) === status).length;
  const there = STATUSES.filter(count);
  const parts = there.map((status) => el('span.status', {'data-status': status}, `${count(status)} ${status}`));
  const prompts = new Set(jobs.map((job) => job.prompt).filter(Boolean));
  const sources = new Set(jobs.map((job) => job.source).filter(Boolean));
  const seen = sources.size === 1 && jobs.length > 1 ? jobs.find((job) => job.observed) : null;
  place('head').replaceChildren(
    el('div.line', {}, el('span.brand', {}, 'strands_diffusers'), el('nav', {'aria-label': 'Parts of the page', id: 'nav'}), el('button.plain.theme', {type: 'button', click: switchTheme, 'aria-label': 'Dark mode', title: 'Dark or light (d)'}, '◐')),
    el('h1', {}, DATA.title),
    seen ? observedOf(seen) : '',
    prompts.size === 1 ? el('blockquote', {}, [...prompts][0]) : '',
    el('p.facts', {}, el('span', {}, DATA.summary.join(' · ')), el('span', {}, there.length > 1 ? [`${jobs.length} jobs: `, parts.flatMap((part, index) => (index ? [', ', part] : [part]))] : [plural(jobs.length, 'job'), ' ', el('span.status', {'data-status': there[0]}, there[0])],
      isNumber(DATA.elapsed) ? ` in ${duration(DATA.elapsed)}` : '', DATA.started ? ` · ${DATA.started.slice(0, 16).replace('T', ' ')}` : '')),
    DATA.shared.length && jobs.length > 1 ? el('p.shared', {}, DATA.shared.map(([key, value]) => el('code', {}, `${key}=${value}`))) : '',
    DATA.notes.length ? el('ul.notes', {}, DATA.notes.map((note) => el('li', {}, note))) : '');
}

// Ways down a long page.
function drawNav() {
  const parts = [['gallery', 'Videos'], ['charts', 'Scores'], ['table', 'Jobs'], ['tables', 'Tables']].filter(([id]) => !place(id).hidden);
  place('nav').replaceChildren(...(jobs.length > 1 && parts.length > 1 ? parts.map(([id, name]) => el('a', {href: `#${id}`}, name)) : []));
}

// What went wrong: jobs that failed, and jobs whose rollout stands although something beside it failed.
function drawFailed() {
  const failed = jobs.filter((job) => job.status === 'failed');
  trouble('failed', failed, `${plural(failed.length, 'job')} failed`, (job) => [job.error || 'No reason was recorded.']);
  const troubled = jobs.filter((job) => job.status === 'done' && job.problems.length);
  trouble('problems', troubled, `${plural(troubled.length, 'job')} done with problems`, (job) => job.problems);
}

function trouble(id, list, title, lines) {
  place(id).hidden = !list.length;
  if (!list.length) return;
  const where = (job) => DATA.axes.map((axis, index) => `${axis.label} ${clip(axis.values[job.axes[index]], 80)}`).join(' · ');
  const rows = list.map((job) => el('li', {}, el('button.plain', {type: 'button', click: () => openDetail(job, job.samples[0] || null)}, job.number),
    el('div', {}, lines(job).map((line) => el('p', {}, line)),
      el('small', {}, where(job), job.stage ? ` · in stage ${job.stage} ` : ' ', job.status === 'failed' ? job.links.map((file) => el('a', {href: file.href}, file.name)) : ''))));
  place(id).replaceChildren(el('details', {open: list.length <= 8}, el('summary', {}, el('h2', {}, title)), el('ol', {}, rows)));
}

// The first frame that was observed, with its address and task.
function observedOf(job) {
  return el('figure.observed', {}, el('a', {href: job.observed.href, title: 'Open the first frame'}, el('img', {src: job.observed.href, alt: `First frame of ${job.source || 'the observation'}`, decoding: 'async'})),
    el('figcaption', {}, el('small', {}, 'observed'), el('code', {}, job.source || 'from Python'), job.task && job.task !== job.prompt ? el('q', {}, job.task) : ''));
}

function drawControls() {
  const parts = [];
  if (types.length > 1 && cards.length > 1) parts.push(labelled('show', choice('Show', types.map((type) => [type, typeName(type)]), view.show, (type) => { view.show = type; update(); })));
  if (cards.length > 1) {
    if (DATA.axes.length) {
      const group = el('select', {'aria-label': 'Group by', id: 'group', change: () => { view.group = Number(group.value); update(); }},
        [[-1, 'nothing'], ...DATA.axes.map((axis, index) => [index, axis.label])].map(([value, name]) => el('option', {value, selected: value === view.group}, name)));
      parts.push(labelled('group by', group));
    }
    parts.push(labelled('order by', orderControl()));
    parts.push(labelled('size', choice('Size', [['small', 'S', 'Small'], ['medium', 'M', 'Medium'], ['large', 'L', 'Large']], view.size, (size) => { view.size = size; update(); })));
    const filters = filterMenus();
    if (filters.length) parts.push(labelled('filter', el('div.filters', {}, filters, el('output', {id: 'count', 'aria-live': 'polite'}))));
  }
  place('controls').replaceChildren(...parts);
  place('controls').hidden = !parts.length;
}

function orderControl() {
  const options = [['number', 'job'], ...DATA.axes.map((axis, index) => [`axis:${index}`, axis.label]),
    ...DATA.metrics.map((column, index) => [`metric:${index}`, `${column.metric}.${column.value}`]), ['seconds', 'time']];
  const select = el('select', {'aria-label': 'Order by', id: 'order', change: () => sortBy(select.value)}, options.map(([value, name]) => el('option', {value}, name)));
  const turn = el('button.turn', {type: 'button', id: 'turn', click: () => { view.sort.down = !view.sort.down; update(); }});
  return el('div.order', {}, select, turn);
}

function filterMenus() {
  const menus = [];
  const statuses = STATUSES.filter((status) => jobs.some((job) => stateOf(job) === status));
  if (statuses.length > 1) {
    menus.push(filterMenu('status', statuses.map((status) => [status, status, jobs.filter((job) => stateOf(job) === status).length]),
      (status) => view.status.has(status), (status, on) => (on ? view.status.add(status) : view.status.delete(status))));
  }
  DATA.axes.forEach((axis, index) => {
    menus.push(filterMenu(axis.label, axis.values.map((name, value) => [value, name, jobs.filter((job) => job.axes[index] === value).length]),
      (value) => !view.hidden[index].has(value), (value, on) => (on ? view.hidden[index].delete(value) : view.hidden[index].add(value))));
  });
  return menus;
}

function filterMenu(label, options, has, set) {
  const boxes = options.map(([value, name, count]) => checkbox(name, has(value), (on) => { set(value, on); update(); }, count));
  const all = (on) => options.forEach(([value], index) => { boxes[index].firstChild.checked = on; set(value, on); });
  const node = menu(label, [el('div.all', {}, ['all', 'none'].map((name) => el('button.plain', {type: 'button', click: () => { all(name === 'all'); update(); }}, name))), ...boxes], `Filter by ${label}`);
  node.sync = () => {
    options.forEach(([value], index) => { boxes[index].firstChild.checked = has(value); });
    const on = options.filter(([value]) => has(value));
    const text = on.length === options.length ? '' : on.length === 0 ? 'none' : on.length <= 2 ? on.map(([, name]) => name).join(', ') : `${on.length} of ${options.length}`;
    node.firstChild.replaceChildren(label, text ? el('b', {}, ` ${text}`) : '');
    node.classList.toggle('active', Boolean(text));
  };
  node.sync();
  return node;
}

function clearFilters() {
  view.status = new Set(STATUSES);
  for (const hidden of view.hidden) hidden.clear();
  update();
}

function drawAbout() {
  const list = (rows) => el('dl.rows', {}, rows.map(([key, value]) => el('div', {}, el('dt', {}, key), el('dd', {}, value))));
  const parts = [];
  if (DATA.differences.length) {
    parts.push(section(`What differs between the jobs: ${plural(DATA.differences.length, 'config key')}`, list(DATA.differences.map(({key, values}) => [key, valuesOf(values)])), false));
  }
  if (DATA.settings.length && cards.length > 1) parts.push(section(jobs.length > 1 ? 'How all of them were made' : 'How it was made', list(DATA.settings), false));
  if (DATA.facts.length && cards.length > 1) parts.push(section(jobs.length > 1 ? 'How all of them were run' : 'How it was run', list(DATA.facts), false));
  place('about').replaceChildren(...parts);
}

function valuesOf(values) {
  const few = values.slice(0, 12).flatMap(([value, count]) => [el('code', {}, value), el('small', {}, count > 1 ? ` ×${count} ` : ' ')]);
  return values.length > 12 ? [...few, el('small', {}, `and ${values.length - 12} more`)] : few;
}

function drawFoot() {
  const keys = [['space', 'play'], ['← →', 'frames, or cards'], ['↑ ↓', 'cards'], ['enter', 'open'], [', .', 'one frame'], ['d', 'dark']];
  place('foot').replaceChildren(el('p.keys', {}, keys.map(([key, what]) => el('span', {}, el('kbd', {}, key), ` ${what}`))),
    el('p', {}, `${DATA.title} · page made ${DATA.made.slice(0, 16).replace('T', ' ')}`));
}

// ------------------------------------------------------------------------------------------------------- theme

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
}

function switchTheme() {
  document.documentElement.dataset.theme = isDark() ? 'light' : 'dark';
  try { localStorage.setItem('strands_diffusers.theme', document.documentElement.dataset.theme); } catch { /* a page from a file may have no storage */ }
}

function restoreTheme() {
  try {
    const theme = localStorage.getItem('strands_diffusers.theme');
    if (theme === 'dark' || theme === 'light') document.documentElement.dataset.theme = theme;
  } catch { /* as above */ }
}
