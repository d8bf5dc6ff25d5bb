// The tree of moments: which branch a moment is on, the map of them, and the list of branches.

import { el, place, svg } from './stage.js';

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
export const letter = (i) => LETTERS[i % 26] + (i >= 26 ? Math.floor(i / 26) : '');

export class Tree {
  constructor(page) {
    Object.assign(this, { page, moments: new Map(), branches: [], compared: new Set() });
    place('map').addEventListener('keydown', (event) => {
      const step = { ArrowLeft: () => page.back(), ArrowRight: () => page.on(), ArrowUp: () => this.other(-1), ArrowDown: () => this.other(1), Home: () => page.go(0) }[event.key];
      if (step) { event.preventDefault(); step(); }
    });
  }

  add(told) {
    const moment = { ...told, children: [], chosen: null, depth: 0, lane: 0 };
    const parent = this.moments.get(told.parent);
    if (parent) {
      moment.depth = parent.depth + 1;
      moment.lane = parent.children.length ? this.branches.length : parent.lane;
      parent.children.push(moment);
      parent.chosen = moment;
    }
    this.moments.set(moment.id, moment);
    this.branches[moment.lane] = moment; // the last moment of its lane
    return moment;
  }

  path(moment) {
    const found = [];
    for (let each = moment; each; each = this.moments.get(each.parent)) found.unshift(each);
    return found;
  }

  // The end of the branch that was last looked at from a moment on.
  end(moment) {
    while (moment.chosen) moment = moment.chosen;
    return moment;
  }

  choose(moment) {
    this.path(moment).forEach((each, i, all) => { if (i) all[i - 1].chosen = each; });
  }

  other(by) {
    const lane = this.end(this.page.at).lane;
    const next = this.branches[(lane + by + this.branches.length) % this.branches.length];
    if (next && next.lane !== lane) this.page.go(next.id);
  }

  seconds(moment) { return (moment.depth * this.page.info.steps) / this.page.info.fps; }

  show() {
    this.map();
    this.list();
  }

  map() {
    const { at, info } = this.page;
    const deepest = Math.max(...this.branches.map((each) => each.depth));
    const wide = Math.min(34, Math.max(13, (place('map').clientWidth - 90) / Math.max(deepest, 1)));
    const [high, left, top] = [26, 30, 26];
    const x = (moment) => left + moment.depth * wide;
    const y = (moment) => top + moment.lane * high;
    const way = new Set(this.path(this.end(at)));
    const lines = [], dots = [], texts = [];
    for (const moment of this.moments.values()) {
      const parent = this.moments.get(moment.parent);
      const on = way.has(moment);
      if (parent) {
        const [x0, y0, x1, y1] = [x(parent), y(parent), x(moment), y(moment)];
        const line = svg(on ? 'path.way' : 'path', { d: y0 === y1 ? `M${x0} ${y0}H${x1}` : `M${x0} ${y0}C${x0 + 8} ${y0} ${x0 + 3} ${y1} ${x1} ${y1}` });
        if (on) lines.push(line); else lines.unshift(line);
      }
      const kind = !parent ? '.first' : moment.by === 'person' ? '' : '.other';
      const who = !parent ? 'the start' : moment.by === 'person' ? 'you' : `${moment.by}: ${moment.task}`;
      dots.push(svg(`circle${kind}${on ? '' : '.far'}`, { cx: x(moment), cy: y(moment), r: 5.5, 'data-moment': moment.id, click: () => this.page.go(moment.id) },
        svg('title', {}, `${this.seconds(moment).toFixed(1)} s, ${who}`)));
    }
    this.branches.forEach((each) => texts.push(svg('text.letter', { x: x(each) + 12, y: y(each) + 4 }, letter(each.lane))));
    for (let second = 0; second <= (deepest * info.steps) / info.fps + 1; second += 1) {
      texts.push(svg('text', { x: left + (second * info.fps * wide) / info.steps, y: 10, 'text-anchor': 'middle' }, second % 2 && deepest > 24 ? '' : `${second} s`));
    }
    const size = { width: Math.max(left + (deepest + 4) * wide, 200), height: top + this.branches.length * high - 8 };
    const here = svg('circle.here', { cx: x(at), cy: y(at), r: 9.5 });
    const box = place('map');
    box.replaceChildren(svg('svg', { ...size, viewBox: `0 0 ${size.width} ${size.height}` }, ...lines, ...texts, ...dots, here));
    const seen = x(at) - box.scrollLeft;
    if (seen < 60 || seen > box.clientWidth - 90) box.scrollLeft = x(at) - box.clientWidth / 2;
  }

  list() {
    const { page } = this;
    const now = this.end(page.at).lane;
    const long = this.branches.filter((each) => each.depth);
    place('compare').hidden = long.length < 2;
    place('list').replaceChildren(...this.branches.map((last) => {
      const words = [...new Set(this.path(last).slice(1).map((each) => (each.by === 'person' ? 'you' : each.by + (each.task ? `: ${each.task}` : ''))))];
      const name = letter(last.lane);
      const check = el('input', { type: 'checkbox', 'aria-label': `Compare branch ${name}`, title: 'Compare', change: (event) => { this.compared[event.target.checked ? 'add' : 'delete'](last.lane); page.compare(); } });
      check.checked = this.compared.has(last.lane);
      const save = last.saved
        ? el('a.saved', { href: `saved/${last.saved}/`, title: `The page of this run, ${last.saved}`, target: '_blank', rel: 'noopener' }, 'Page')
        : el('button.plain', { type: 'button', 'data-save': last.lane, click: () => page.save(last), disabled: !last.depth || page.saving }, page.saving === last ? 'Saving …' : 'Save');
      return el('li', { 'aria-current': last.lane === now ? 'true' : null },
        el('button.letter', { type: 'button', 'aria-label': `Go to the end of branch ${name}`, click: () => page.go(last.id) }, name),
        el('span', {}, `${this.seconds(last).toFixed(1)} s`, el('small', { title: words.join(', ') }, words.join(', ') || 'nothing yet')),
        el('span.does', {}, save, long.length > 1 ? check : null));
    }));
  }
}
