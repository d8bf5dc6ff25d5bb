// The picture of the world, and the pointer in it.

export const place = (id) => document.getElementById(id);

// el('a.link', {href: './'}, 'text'): a tag with classes, its attributes and listeners, its children; text never becomes markup.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name.split('.')[0]), name, attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name.split('.')[0]), name, attributes, children);
}

function fill(element, name, attributes, children) {
  const classes = name.split('.').slice(1);
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

// Draw an image on a canvas at the canvas's own size on the screen, and no larger than it needs to be.
export function draw(canvas, image, over) {
  if (!image) return;
  const wide = Math.max(1, Math.round((canvas.clientWidth || 320) * Math.min(2, devicePixelRatio)));
  const high = Math.round((wide * image.naturalHeight) / image.naturalWidth);
  if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
  const paint = canvas.getContext('2d');
  paint.imageSmoothingQuality = 'high';
  paint.drawImage(image, 0, 0, wide, high);
  if (over) over(paint, wide, high);
}

export async function decoded(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

// Pointing at the picture: where the pusher's target is to go, by pointer and by arrow keys.
export class Point {
  constructor(canvas, control, page) {
    Object.assign(this, { canvas, control, page, goal: null, down: false, keys: new Set(), speed: Math.round(control.fastest * 0.5) });
    canvas.classList.add('point');
    canvas.setAttribute('aria-label', 'The world as the model shows it. Drag the pusher, or hold the arrow keys.');
    canvas.addEventListener('pointerdown', (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
      this.down = true;
      this.to(event);
      page.person(this);
    });
    canvas.addEventListener('pointermove', (event) => this.down && this.to(event));
    for (const name of ['pointerup', 'pointercancel']) canvas.addEventListener(name, () => { this.down = false; });
    canvas.addEventListener('keydown', (event) => {
      if (!ARROWS[event.key]) return;
      event.preventDefault();
      this.keys.add(event.key);
      this.step(page.tail); // at once: a tap may be over before it is asked for
      page.person(this);
    });
    canvas.addEventListener('keyup', (event) => this.keys.delete(event.key));
    canvas.addEventListener('blur', () => this.keys.clear());
  }

  to(event) {
    const box = this.canvas.getBoundingClientRect();
    const scale = this.control.side / Math.min(box.width, box.height); // the table fills the shorter side
    this.goal = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale].map((v) => Math.round(v * 10) / 10);
    this.page.redraw();
  }

  // What the person does from a moment on.
  given(moment) {
    if (this.keys.size) this.step(moment);
    return { point: this.goal, speed: this.speed };
  }

  // The goal of the arrow keys that are held: as far as one input goes.
  step(moment) {
    const arrows = [...this.keys].map((key) => ARROWS[key]);
    const way = [0, 1].map((i) => arrows.reduce((sum, arrow) => sum + arrow[i], 0));
    const far = (this.speed * this.page.info.steps) / (Math.hypot(...way) || 1);
    if (moment.point) this.goal = moment.point.map((v, i) => Math.min(this.control.side - 16, Math.max(16, v + far * way[i])));
  }

  // Whether there is more to do: it is held, or what was pointed at is not reached yet.
  more(moment) {
    if (this.down || this.keys.size) return true;
    return Boolean(this.goal && moment.point && Math.hypot(...this.goal.map((v, i) => v - moment.point[i])) > 1);
  }

  stop() { this.down = false; this.keys.clear(); this.goal = null; }

  over(paint, wide, high) {
    if (!this.goal) return;
    const scale = Math.min(wide, high) / this.control.side;
    const [x, y] = this.goal.map((v) => v * scale);
    const size = 11 * Math.min(2, devicePixelRatio);
    paint.lineWidth = 2 * Math.min(2, devicePixelRatio);
    paint.strokeStyle = '#0b63ad';
    paint.beginPath();
    paint.arc(x, y, size, 0, 7);
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      paint.moveTo(x + dx * size * 0.6, y + dy * size * 0.6);
      paint.lineTo(x + dx * size * 1.5, y + dy * size * 1.5);
    }
    paint.stroke();
  }

  parts() {
    const said = el('output', {}, `${this.speed} px a step`);
    const change = (event) => {
      this.speed = Number(event.target.value);
      said.textContent = `${this.speed} px a step`;
    };
    const range = el('input', { type: 'range', id: 'speed', min: 5, max: this.control.fastest, value: this.speed, input: change });
    return [
      el('p.hint', {}, 'Drag the pusher, the blue dot, or hold the arrow keys. Release: time stands still.'),
      el('label.slide', {}, el('span', {}, 'Speed'), range, said),
    ];
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
