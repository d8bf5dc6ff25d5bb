// The one clock that every video and every playhead follows.
//
// A video plays by itself; each animation frame compares it with the clock and nudges its rate, or seeks where it is far
// off. The clock in turn waits for videos that do not keep up: a machine that is too slow for all of them shows them
// slower and still in step. Only videos near the window exist: the others have no element and no decoder.

const HOLD = 1.2; // seconds that the last frame stays before all videos start again
const SHORT = 3; // videos shorter than this [s] play at half speed unless another is chosen
const PATIENCE = 1500; // milliseconds that the clock waits for a video that does not move at all

const clock = {time: 0, duration: 0, fps: 10, playing: false, speed: 1};
const players = new Map(); // video element -> {seconds, fps, at: where it was, since: when it came there}
const heads = new Set(); // functions that place a playhead
let pending = 0;
let before = 0;

function schedule() {
  if (!pending) pending = requestAnimationFrame(tick);
}

function tick(now) {
  pending = 0;
  const active = activePlayers();
  if (clock.playing) {
    const passed = before ? Math.min((now - before) / 1000, 0.25) : 0; // a tab that was hidden goes on where it was
    clock.time = Math.max(clock.time, Math.min(clock.time + passed * clock.speed, ...active.map((player) => reach(player, now))));
    if (clock.time >= clock.duration + HOLD * clock.speed) clock.time = 0;
  }
  before = clock.playing ? now : 0;
  for (const player of active) follow(player);
  for (const head of heads) head(shownTime());
  showClock();
  if (clock.playing && clock.duration) schedule();
}

const shownTime = () => Math.min(clock.time, clock.duration);

// The videos that are to be seen: those behind an open sheet stand still.
function activePlayers() {
  const sheet = place('detail').open;
  const seen = [...players].map(([video, facts]) => ({video, facts})).filter(({video}) => !sheet || place('detail').contains(video));
  if (sheet) for (const video of players.keys()) if (!place('detail').contains(video) && !video.paused) video.pause();
  return seen;
}

// The last moment of a video that is worth showing: the middle of its last frame.
function lastOf(video, {seconds, fps}) {
  return Math.max((Number.isFinite(video.duration) ? video.duration : seconds) - 0.5 / fps, 0);
}

// How far the clock may go before a video: a frame ahead of it, or anywhere if it has ended or does not move at all.
function reach({video, facts}, now) {
  if (facts.at !== video.currentTime || video.paused) Object.assign(facts, {at: video.currentTime, since: now});
  const ended = video.currentTime >= lastOf(video, facts) - 0.5 / facts.fps;
  return ended || now - facts.since > PATIENCE ? Infinity : video.currentTime + Math.max(0.1, 1 / facts.fps) * Math.max(clock.speed, 1);
}

function follow({video, facts}) {
  if (video.readyState < 1) return;
  const last = lastOf(video, facts);
  if (clock.playing && clock.time < last) {
    const ahead = video.currentTime - clock.time;
    const frame = Math.max(0.1, 1 / facts.fps) * Math.max(clock.speed, 1);
    if (Math.abs(ahead) > 4 * frame) { // moved by hand, or begun again
      if (!video.seeking) video.currentTime = clock.time;
    } else if (ahead > (video.paused ? 0.02 : frame)) { // ran away while the machine was busy: let the others come
      if (!video.paused) video.pause();
      return;
    }
    const rate = clock.speed * Math.min(Math.max(1 - (4 * ahead) / clock.speed, 0.4), 1.6);
    if (Math.abs(video.playbackRate - rate) > 0.03 * clock.speed) video.playbackRate = rate;
    if (video.paused) video.play().catch(() => {});
    return;
  }
  if (!video.paused) video.pause();
  const target = Math.min(clock.time + 0.001, last); // just inside the frame that begins here
  if (!video.seeking && Math.abs(video.currentTime - target) > 0.25 / facts.fps) video.currentTime = target;
}

function play(on) {
  if (on && clock.time >= clock.duration) clock.time = 0;
  clock.playing = on;
  schedule();
}

function seek(seconds) {
  clock.time = Math.min(Math.max(seconds, 0), clock.duration);
  schedule();
}

// Move by whole frames, standing still.
function step(frames) {
  clock.playing = false;
  const current = Math.round(Math.min(clock.time, clock.duration) * clock.fps);
  seek((current + frames) / clock.fps);
}

function setSpan(seconds, fps) {
  clock.duration = seconds;
  clock.fps = fps || 10;
  if (!chosenSpeed) {
    clock.speed = seconds && seconds < SHORT ? 0.5 : 1;
    place('speed').value = clock.speed;
  }
  if (clock.time > seconds) clock.time = seconds;
  place('bar').hidden = !seconds;
  schedule();
}

// Put a video or a picture into its frame.
function show(frame, file) {
  empty(frame);
  if (!file) return;
  if (file.kind === 'picture') {
    frame.append(el('img', {src: file.href, alt: file.type, decoding: 'async', error: () => missing(frame, file)}));
    return;
  }
  const video = el('video', {preload: 'auto', playsinline: true, disablepictureinpicture: true, tabindex: '-1', 'aria-label': file.type});
  video.muted = true;
  for (const event of ['loadedmetadata', 'loadeddata', 'seeked']) video.addEventListener(event, schedule);
  video.addEventListener('error', () => video.isConnected && missing(frame, file));
  video.src = file.href;
  players.set(video, {seconds: file.seconds || 0, fps: file.fps || 10, at: -1, since: 0});
  frame.append(video);
  schedule();
}

function empty(frame) {
  for (const video of frame.querySelectorAll('video')) {
    players.delete(video);
    video.pause();
    video.removeAttribute('src'); // lets go of the file and the decoder
    video.load();
  }
  frame.replaceChildren();
}

function missing(frame, file) {
  empty(frame);
  frame.append(el('p.hole', {}, `${file.name} cannot be shown: it is gone or broken.`));
}

const near = new IntersectionObserver((entries) => {
  for (const entry of entries) entry.target.near(entry.isIntersecting);
}, {rootMargin: '200px 0px'});

// ------------------------------------------------------------------------------------------- the bar at the bottom

let showClock = () => {};
let chosenSpeed = false;

function buildBar() {
  const button = el('button.play', {type: 'button', click: () => play(!clock.playing), title: 'Play or pause (space)'});
  const scrub = el('input.scrub', {type: 'range', min: 0, step: 'any', value: 0, 'aria-label': 'Position'});
  const text = el('output.time', {});
  const speed = el('select', {'aria-label': 'Speed', title: 'Speed', id: 'speed', change: () => { chosenSpeed = true; clock.speed = Number(speed.value); schedule(); }},
    [[0.1, '0.1×'], [0.25, '¼×'], [0.5, '½×'], [1, '1×'], [2, '2×'], [4, '4×']].map(([value, name]) => el('option', {value, selected: value === 1}, name)));
  let resume = false;
  scrub.addEventListener('pointerdown', () => { resume = clock.playing; play(false); });
  scrub.addEventListener('pointerup', () => { if (resume) play(true); resume = false; });
  scrub.addEventListener('input', () => seek(Number(scrub.value)));
  place('bar').append(el('div.inner', {role: 'group', 'aria-label': 'All videos'}, button,
    el('button.step', {type: 'button', title: 'One frame back (,)', 'aria-label': 'One frame back', click: () => step(-1)}, '‹'),
    scrub,
    el('button.step', {type: 'button', title: 'One frame on (.)', 'aria-label': 'One frame on', click: () => step(1)}, '›'),
    text, speed));
  let playing = null;
  showClock = () => {
    if (playing !== clock.playing) {
      playing = clock.playing;
      button.setAttribute('aria-label', playing ? 'Pause' : 'Play');
      button.classList.toggle('on', playing);
    }
    const time = shownTime();
    scrub.max = clock.duration;
    scrub.value = time;
    scrub.style.setProperty('--done', clock.duration ? `${(100 * time) / clock.duration}%` : '0%');
    text.textContent = `${time.toFixed(1)} / ${clock.duration.toFixed(1)}\u202fs`;
  };
}
