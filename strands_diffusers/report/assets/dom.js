// Elements, numbers and words. Everything that a job says becomes text or an attribute, never markup.

const DATA = JSON.parse(document.getElementById('data').textContent);
const place = (id) => document.getElementById(id);

// el('a.link', {href: './3/'}, 'job 3'): a tag with classes, its attributes and listeners, its children.
function el(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  return fill(document.createElement(tag), classes, attributes, children);
}

function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split('.');
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key, value);
    else if (key.startsWith('--')) element.style.setProperty(key, value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

const isNumber = (value) => typeof value === 'number';

// Four significant digits, no exponent for what people read at a glance.
function number(value) {
  if (!isNumber(value)) return '';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e9) return String(value).replace('-', '−');
  if (size !== 0 && (size < 1e-4 || size >= 1e6)) return value.toExponential(2).replaceAll('-', '−');
  return value.toFixed(Math.max(0, 3 - Math.floor(Math.log10(size || 1)))).replace(/(\.\d*?)0+$/, '$1').replace(/\.$/, '').replace('-', '−');
}

const withUnit = (value, unit) => (unit ? `${number(value)}\u202f${unit}` : number(value));

function duration(seconds) {
  if (!isNumber(seconds)) return '';
  if (seconds < 100) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)}\u202fs`;
  const minutes = Math.round(seconds / 60);
  return minutes < 100 ? `${minutes}\u202fmin` : `${Math.floor(minutes / 60)}\u202fh ${minutes % 60}\u202fmin`;
}

function bytes(count) {
  if (!isNumber(count)) return '';
  const unit = count < 1e3 ? ['B', 1] : count < 1e6 ? ['kB', 1e3] : count < 1e9 ? ['MB', 1e6] : ['GB', 1e9];
  return `${Number((count / unit[1]).toPrecision(3))}\u202f${unit[0]}`;
}

const plural = (count, word) => `${count} ${word}${count === 1 ? '' : 's'}`;
const arrow = (better) => ({higher: '↑', lower: '↓'})[better] || '';
const clip = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);
const words = (name) => name.replaceAll('_', ' ');

// A folded menu of check boxes; closes on Escape and on a click elsewhere.
function menu(label, body, title) {
  const details = el('details.menu', {}, el('summary', {title}, label), el('div.sheet', {}, body));
  details.addEventListener('keydown', (event) => {
    if (event.key !== 'Escape' || !details.open) return;
    details.open = false;
    details.firstChild.focus();
    event.stopPropagation();
    event.preventDefault();
  });
  return details;
}

document.addEventListener('pointerdown', (event) => {
  for (const open of document.querySelectorAll('details.menu[open]')) {
    if (!open.contains(event.target)) open.open = false;
  }
});

function checkbox(label, checked, change, count) {
  const box = el('input', {type: 'checkbox', checked, change: () => change(box.checked)});
  return el('label.check', {}, box, el('span', {}, label), el('small', {}, count === undefined ? '' : String(count)));
}

// One of a few, as joined buttons.
function choice(label, options, current, change) {
  const group = el('div.choice', {role: 'group', 'aria-label': label});
  for (const [value, name, title] of options) {
    group.append(el('button', {type: 'button', title, 'aria-pressed': String(value === current), 'data-value': value, click: () => {
      for (const other of group.children) other.setAttribute('aria-pressed', String(other.dataset.value === value));
      change(value);
    }}, name));
  }
  return group;
}

function labelled(label, control) {
  return el('div.control', {}, el('span.label', {'aria-hidden': 'true'}, label), control);
}
