// Bodies that move and turn by keys and pads, and values that sliders set.

import { el } from './stage.js';

const AXES = ['x', 'y', 'z'];
const KEYS = { move: [['KeyA', 'KeyD'], ['KeyS', 'KeyW'], ['KeyQ', 'KeyE']], turn: [['KeyJ', 'KeyL'], ['KeyK', 'KeyI'], ['KeyU', 'KeyO']] };

export class Pads {
  constructor(canvas, controls, page) {
    Object.assign(this, { page, bodies: controls.bodies, values: controls.values, body: 0, share: 0.5, held: new Map(), tapped: new Set(), pads: [] });
    this.set = Object.fromEntries(controls.values.map((value) => [value.name, value.at]));
    canvas.setAttribute('aria-label', 'The world as the model shows it. Hold the keys that the pads below show.');
    document.addEventListener('keydown', (event) => {
      const pad = this.pads.find((each) => each.code === event.code);
      if (!pad || event.ctrlKey || event.metaKey || event.altKey || event.target.closest('input, select, textarea')) return;
      event.preventDefault();
      this.press(pad, event.code);
    });
    document.addEventListener('keyup', (event) => this.release(event.code));
    addEventListener('blur', () => this.stop());
  }

  press(pad, by) {
    if (this.held.has(by)) return;
    this.held.set(by, pad);
    this.tapped.add(pad); // a tap may be over before it is asked for
    pad.button.classList.add('on');
    this.page.person(this);
  }

  release(by) {
    this.held.get(by)?.button.classList.remove('on');
    this.held.delete(by);
  }

  given() {
    const bodies = {};
    for (const { kind, axis, sign } of new Set([...this.held.values(), ...this.tapped])) {
      const body = this.bodies[this.body];
      const to = (bodies[body.name] ??= { move: [0, 0, 0], turn: [0, 0, 0] });
      to[kind][axis] += sign * body[kind][axis] * this.share;
    }
    this.tapped.clear();
    return { bodies, values: this.set };
  }

  more() { return this.held.size > 0; }
  stop() { [...this.held.keys()].forEach((by) => this.release(by)); }
  over() {}

  parts() {
    const found = this.bodies.length ? [this.bodyPart()] : [];
    return [...found, ...this.values.map((value) => this.valuePart(value))];
  }

  // The pads of the chosen body; drawn again when another one is chosen.
  bodyPart() {
    const body = this.bodies[this.body];
    const again = () => { this.stop(); part.replaceWith((this.whole = this.bodyPart())); };
    const choice = this.bodies.length > 1 && el('div.choice', { role: 'group', 'aria-label': 'Which body moves' }, ...this.bodies.map((each, i) =>
      el('button', { type: 'button', 'aria-pressed': String(i === this.body), click: () => { this.body = i; again(); } }, each.name.replaceAll('_', ' '))));
    this.pads = [];
    const [move, turn] = ['move', 'turn'].map((kind) => {
      const rows = AXES.flatMap((axis, i) => body[kind][i] ? [el('b', {}, axis), this.pad(body, kind, i, -1), this.pad(body, kind, i, 1)] : []);
      const title = kind === 'move' ? `Move along its own axes [${body.unit || 'model units'} a step]` : 'Turn about them [degrees a step]';
      return rows.length ? el('div', {}, el('h3', {}, title), ...rows) : null;
    });
    const said = el('output', {}, `${Math.round(this.share * 100)} %`);
    const slide = (event) => {
      this.share = Number(event.target.value) / 100;
      said.textContent = `${Math.round(this.share * 100)} %`;
      this.pads.forEach((pad) => pad.say());
    };
    const speed = el('label.slide', {}, el('span', {}, 'Speed'), el('input', { type: 'range', id: 'speed', min: 5, max: 100, value: this.share * 100, input: slide }), said);
    const part = el('div.body', {}, choice || null, el('div.axes', {}, move, turn), speed);
    return part;
  }

  pad(body, kind, axis, sign) {
    const code = KEYS[kind][axis][sign > 0 ? 1 : 0];
    const text = el('span');
    const button = el('button.pad', { type: 'button', 'data-pad': `${kind} ${sign > 0 ? '+' : '-'}${AXES[axis]}` }, text, el('kbd', {}, code.slice(3)));
    const say = () => {
      const size = body[kind][axis] * this.share;
      text.textContent = `${sign > 0 ? '+' : '−'}${kind === 'move' ? size.toFixed(3) : size.toFixed(1)}${kind === 'move' ? (body.unit && ` ${body.unit}`) : '°'}`;
      button.setAttribute('aria-label', `${kind} ${text.textContent} ${kind === 'move' ? 'along' : 'about'} ${AXES[axis]}`);
    };
    const pad = { kind, axis, sign, code, button, say };
    say();
    button.addEventListener('pointerdown', (event) => { button.setPointerCapture(event.pointerId); this.press(pad, 'pointer'); });
    for (const name of ['pointerup', 'pointercancel', 'blur']) button.addEventListener(name, () => this.release('pointer'));
    button.addEventListener('keydown', (event) => [' ', 'Enter'].includes(event.key) && (event.preventDefault(), event.stopPropagation(), this.press(pad, 'focus')));
    button.addEventListener('keyup', (event) => [' ', 'Enter'].includes(event.key) && this.release('focus'));
    this.pads.push(pad);
    return button;
  }

  valuePart(value) {
    const word = (v) => `${v.toFixed(3)}${value.unit ? ` ${value.unit}` : ''}`;
    const said = el('output', {}, word(value.at));
    const slide = (event) => { this.set[value.name] = Number(event.target.value); said.textContent = word(this.set[value.name]); };
    const range = el('input', {
      type: 'range', min: value.low, max: value.high, step: (value.high - value.low) / 100, value: value.at, 'data-value': value.name,
      input: slide, change: () => this.page.person(this),
    });
    return el('label.slide', {}, el('span', {}, value.name.replaceAll('_', ' ')), range, said);
  }
}
