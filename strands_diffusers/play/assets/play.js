// A session of play: the person acts, the model generates the next moment while the frames of the last one are being shown.

import { decoded, draw, el, place, Point } from './stage.js';
import { Pads } from './pads.js';
import { letter, Tree } from './tree.js';

const still = matchMedia('(prefers-reduced-motion: reduce)').matches;

async function ask(path, body) {
  const options = body === undefined ? {} : { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error('The server does not answer: is strands-diffusers play still running?');
  }
  const type = answer.headers.get('Content-Type') ?? '';
  const told = type.includes('json') ? await answer.json() : { error: (await answer.text()).trim() };
  if (!answer.ok) throw new Error(told.error || `The server answered ${answer.status}.`);
  return told;
}

class Page {
  constructor(info) {
    Object.assign(this, { info, input: null, queue: [], acting: null, pending: false, latency: 250, due: 0, generation: 0, saving: null });
    this.stats = { inputs: [], gaps: [], answers: [] }; // [ms]: input to first new frame, frame to frame, request to answer
    this.tree = new Tree(this);
    info.moments.forEach((moment) => this.tree.add(moment));
    this.hands = info.controls.point ? new Point(place('view'), info.controls.point, this) : new Pads(place('view'), info.controls, this);
    place('pads').append(...this.hands.parts(), el('p.at', { id: 'at' }));
    this.words();
    this.listen();
  }

  async start() {
    const last = Math.max(...this.tree.moments.keys());
    this.at = this.tail = this.tree.moments.get(0);
    await this.keep(this.at, this.info.start);
    await this.go(last);
    requestAnimationFrame((now) => this.tick(now));
  }

  // ---------------------------------------------------------------------------------------------- what is seen

  async keep(moment, shown) {
    [moment.images, moment.truths] = await Promise.all([shown.frames, shown.truth ?? []].map((each) => Promise.all(each.map(decoded))));
  }

  async load(moment) {
    if (!moment.images) await this.keep(moment, await ask(`moment/${moment.id}`));
  }

  redraw() {
    if (!this.shown) return;
    const [moment, i] = this.shown;
    draw(place('view'), moment.images[i], (...paint) => this.acting?.hands && this.hands.over(...paint));
    if (this.info.truth) draw(place('truth'), moment.truths[i]);
  }

  show(moment, i) {
    const changed = this.at !== moment;
    this.at = moment;
    this.shown = [moment, i];
    this.redraw();
    const before = moment.depth ? (moment.depth - 1) * this.info.steps + 1 + i : 0;
    place('time').textContent = `${(before / this.info.fps).toFixed(1)} s`;
    if (changed) this.say();
  }

  // Once a frame of the world's own clock: the next frame, and the next request before the frames run out.
  tick(now) {
    const period = 1000 / this.info.fps;
    if (this.queue.length && now >= this.due - 3) {
      const running = now - this.due < period;
      this.due = (running ? this.due : now) + period;
      const [moment, i] = this.queue.shift();
      if (this.input !== null && moment.born >= this.input) {
        this.stats.inputs.push(now - this.input);
        this.input = null;
      }
      if (this.lastFrame && running) this.stats.gaps.push(now - this.lastFrame);
      this.lastFrame = now;
      this.show(moment, i);
      if (!this.queue.length && !this.acting) this.rest();
    } else if (!this.queue.length && now > this.due + period) this.lastFrame = null;
    if (this.acting && !this.pending && this.due - now + this.queue.length * period <= this.latency + 40) this.request();
    requestAnimationFrame((next) => this.tick(next));
  }

  // ---------------------------------------------------------------------------------------------- who acts

  async request() {
    const { acting, generation, tail } = this;
    this.pending = true;
    const asked = performance.now();
    try {
      const told = await ask(acting.policy ? 'do' : 'act', { parent: tail.id, ...acting.given(tail) });
      const moment = this.tree.add(told);
      moment.born = asked;
      await this.keep(moment, told);
      const took = performance.now() - asked;
      this.stats.answers.push(took);
      this.latency += (took - this.latency) * 0.3;
      place('pace').textContent = `${(this.info.steps / this.info.fps).toFixed(1)} s generated in ${(took / 1000).toFixed(2)} s`;
      if (generation === this.generation) {
        this.queue.push(...moment.images.map((_, i) => [moment, i]));
        this.tail = moment;
        if (this.acting === acting && acting.more && !acting.more(moment)) this.acting = null;
      }
      this.tree.show();
      this.say();
    } catch (error) {
      if (generation === this.generation) this.acting = null;
      this.complain(error);
    } finally {
      this.pending = false;
    }
  }

  // `hands`: where the person's input comes from; a policy that acts gives way.
  person(hands) {
    if (this.acting?.hands === hands) return;
    this.input = performance.now();
    if (this.watching) this.stay();
    this.begin({ hands, given: (moment) => hands.given(moment), more: (moment) => hands.more(moment) });
  }

  begin(acting) {
    this.complain(null);
    this.acting = acting;
    this.watching = false;
    if (!this.queue.length && !this.pending) this.latency = Math.min(this.latency, 400);
    this.redraw();
    this.say();
  }

  rest() {
    this.watching = false;
    this.tree.show();
    this.redraw();
    this.say();
  }

  pause() {
    this.acting = null;
    this.hands.stop();
    if (this.watching) this.stay();
    this.say();
  }

  // Stay where the picture is, though more frames are there.
  stay() {
    this.generation += 1;
    this.queue = [];
    this.watching = false;
    this.tail = this.at;
  }

  run() {
    if (this.acting || this.watching) return this.pause();
    const end = this.tree.end(this.at);
    if (end !== this.at) return this.watch(end);
    return this.begin({ given: () => (this.info.controls.point ? {} : { values: this.hands.set }), time: true });
  }

  async watch(end) {
    const generation = (this.generation += 1);
    const path = this.tree.path(end).slice(this.at.depth + 1);
    try {
      await Promise.all(path.map((moment) => this.load(moment)));
    } catch (error) {
      return this.complain(error);
    }
    if (generation !== this.generation) return;
    this.queue = path.flatMap((moment) => moment.images.map((_, i) => [moment, i]));
    this.tail = end;
    this.watching = true;
    this.say();
  }

  async go(id) {
    this.pause();
    const generation = (this.generation += 1);
    const moment = this.tree.moments.get(id);
    this.queue = [];
    this.tail = moment;
    this.tree.choose(moment);
    try {
      await this.load(moment);
    } catch (error) {
      return this.complain(error);
    }
    if (generation !== this.generation) return;
    this.show(moment, moment.images.length - 1);
    this.tree.show();
    this.say();
  }

  back() { if (this.at.parent !== null) this.go(this.at.parent); }
  on() { if (this.at.chosen) this.go(this.at.chosen.id); }

  // Once nothing is being asked for: the world does one thing at a time.
  async settled() { while (this.pending) await new Promise(requestAnimationFrame); }

  async save(moment) {
    if (this.saving) return;
    this.pause();
    await this.settled();
    const last = this.tree.end(moment); // what was being asked for belongs to the branch
    if (!last.depth || last.saved) return;
    this.saving = last;
    this.tree.list();
    try {
      const told = await ask('save', { moment: last.id });
      last.saved = told.saved;
      this.note(`Branch ${letter(last.lane)} is saved: ${told.folder}`, told.notes);
    } catch (error) {
      this.complain(error);
    }
    this.saving = null;
    this.tree.list();
  }

  async restart() {
    if (!confirm('Start over? Branches that were not saved are lost.')) return;
    this.pause();
    await this.settled();
    try {
      await ask('restart', {});
      location.reload();
    } catch (error) {
      this.complain(error);
    }
  }

  // ---------------------------------------------------------------------------------------------- side by side

  async compare() {
    clearInterval(this.clock);
    const box = place('compared');
    const lanes = [...this.tree.compared].sort((a, b) => a - b);
    box.hidden = !lanes.length;
    if (!lanes.length) return;
    const paths = lanes.map((lane) => this.tree.path(this.tree.branches[lane]));
    try {
      await Promise.all(paths.flat().map((moment) => this.load(moment)));
    } catch (error) {
      this.complain(error);
      return;
    }
    const tracks = paths.flatMap((path, i) => {
      const name = `Branch ${letter(lanes[i])}`;
      const model = { name, images: path.flatMap((moment) => moment.images), canvas: el('canvas') };
      return this.info.truth ? [model, { name: `${name}, ${this.info.truth}`, images: path.flatMap((moment) => moment.truths), canvas: el('canvas') }] : [model];
    });
    const length = Math.max(...tracks.map((track) => track.images.length));
    const time = el('output.time');
    const slider = el('input.scrub', { type: 'range', min: 0, max: length - 1, value: 0, 'aria-label': 'Time of all branches', input: () => to(Number(slider.value)) });
    let shown = 0;
    const to = (frame) => {
      shown = frame;
      slider.value = frame;
      slider.style.setProperty('--done', `${(100 * frame) / Math.max(1, length - 1)}%`);
      time.textContent = `${(frame / this.info.fps).toFixed(1)} s`;
      tracks.forEach((track) => draw(track.canvas, track.images[Math.min(frame, track.images.length - 1)]));
    };
    const play = el('button.play', { type: 'button', 'aria-label': 'Play the branches in step', click: () => toggle(!play.classList.contains('on')) });
    const toggle = (on) => {
      clearInterval(this.clock);
      play.classList.toggle('on', on);
      if (on) this.clock = setInterval(() => to((shown + 1) % length), 1000 / this.info.fps);
    };
    box.replaceChildren(el('h2', {}, 'Side by side'), el('div.bar', {}, play, slider, time),
      el('div.grid', {}, tracks.map((track) => el('figure', {}, track.canvas, el('figcaption', {}, track.name)))));
    to(0);
    toggle(!still);
  }

  // ---------------------------------------------------------------------------------------------- words

  complain(error) {
    place('error').hidden = !error;
    place('error').textContent = error?.message ?? '';
  }

  note(line, more) {
    place('notes').prepend(el('p', {}, el('span.saved', {}, line), ' ', el('small', {}, more.join(' · '))));
  }

  say() {
    const { acting, at } = this;
    const busy = acting || this.watching;
    const end = this.tree.end(at);
    const by = acting?.policy ?? (acting?.hands ? 'You' : acting ? 'Time runs' : '');
    const more = acting?.task ? `: ${acting.task}` : '';
    const words = busy ? (this.watching ? 'watching' : '') : at.depth ? (end === at ? 'time stands still' : 'act here for another branch') : 'the start';
    place('status').dataset.by = acting?.policy ? 'other' : 'you';
    place('status').replaceChildren(...(by ? [el('b', {}, by), more] : [words]));
    place('play').classList.toggle('on', Boolean(busy));
    const label = busy ? 'Stop' : end === at ? 'Let time run' : 'Watch on';
    place('play').setAttribute('aria-label', label);
    place('play').title = `${label} (space)`;
    place('back').disabled = at.parent === null;
    place('on').disabled = !at.chosen;
    place('do').textContent = acting?.policy ? 'Stop it' : 'Do it';
    place('do').classList.toggle('on', Boolean(acting?.policy));
    const poses = Object.entries(at.poses).map(([name, { at: [x, y, z], turned }]) => el('span', {}, el('b', {}, name.replaceAll('_', ' ')), ` x ${x.toFixed(3)} m, y ${y.toFixed(3)} m, z ${z.toFixed(3)} m, turned ${turned.toFixed(1)}° `));
    place('at').replaceChildren(...poses);
  }

  words() {
    const { info } = this;
    document.title = `play · ${info.model}`;
    place('model').textContent = info.world === 'model' ? `${info.model} generates` : `world ${info.world}`;
    place('about').textContent = `${info.source}${info.task ? `: “${info.task}”` : ''} ${info.notes.join(' ')}`;
    place('beside').hidden = !info.truth;
    place('truth-name').textContent = `World ${info.truth}`;
    place('tasks').append(...info.tasks.map((task) => el('option', { value: task })));
    place('task').value = info.tasks[0] ?? '';
    place('policy').append(...info.policies.map(({ name, summary, refusal }) => el('option', { value: name, disabled: Boolean(refusal), title: refusal || summary }, refusal ? `${name} (not here)` : name)));
    const keys = [['space', 'stop or go on'], [',', 'back'], ['.', 'on'], ['p', 'policy'], ['s', 'save']];
    const pads = info.controls.point ? keys : keys.filter(([key]) => key !== 's' && key !== 'p');
    place('foot').append(el('span.keys', {}, ...pads.flatMap(([key, does]) => [el('span', {}, el('kbd', {}, key), ` ${does}`)])),
      el('button.plain', { type: 'button', id: 'restart', click: () => this.restart() }, 'Start over'));
    this.keysThere = new Set(pads.map(([key]) => key));
  }

  listen() {
    place('play').addEventListener('click', () => this.run());
    place('back').addEventListener('click', () => this.back());
    place('on').addEventListener('click', () => this.on());
    place('compare').addEventListener('click', () => {
      const all = this.tree.branches.filter((each) => each.depth).map((each) => each.lane);
      this.tree.compared = new Set(this.tree.compared.size ? [] : all);
      this.tree.list();
      this.compare();
    });
    place('hand').addEventListener('submit', (event) => {
      event.preventDefault();
      this.doIt();
    });
    document.addEventListener('keydown', (event) => {
      if (event.target.closest('input, select, textarea, button, a') || event.ctrlKey || event.metaKey || event.altKey) return;
      const does = { ' ': () => this.run(), ',': () => this.back(), '.': () => this.on(), p: () => this.doIt(), s: () => this.save(this.tree.end(this.at)) }[event.key];
      if (does && (event.key === ' ' || this.keysThere.has(event.key))) { event.preventDefault(); does(); }
    });
    const root = document.documentElement;
    place('theme').addEventListener('click', () => {
      const dark = root.dataset.theme ? root.dataset.theme === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
      root.dataset.theme = dark ? 'light' : 'dark';
    });
    addEventListener('resize', () => this.redraw());
  }

  doIt() {
    if (this.acting?.policy) return this.pause();
    if (this.watching) this.stay();
    const policy = place('policy').value;
    const task = place('task').value;
    return this.begin({ policy, task, given: () => ({ policy, task }) });
  }
}

ask('session').then((info) => {
  const page = new Page(info);
  window.play = page; // for tests, and for the curious
  return page.start();
}).catch((error) => {
  place('error').hidden = false;
  place('error').textContent = error.message;
});
