// The page works without this script. With it, the parts that have data-live follow the
// server, and a search answers while it is typed.
'use strict';

const live = document.getElementById('live');
const search = document.getElementById('search');
const reopenAfter = 5000; // ms, after the server has closed or refused the stream
const settleFor = 500; // ms without a key before the stream follows a search
let stream = null;
let timer = 0;
let asked = null;

function say(state, text) {
  live.dataset.state = state;
  live.querySelector('.live-text').textContent = text;
}

// morph makes an element equal to another one. Elements that stay keep their focus and
// selection.
function morph(here, there) {
  if (here.isEqualNode(there)) return;
  for (const { name } of [...here.attributes]) {
    if (name === 'open') continue; // what a person has unfolded stays so
    if (!there.hasAttribute(name)) here.removeAttribute(name);
  }
  for (const { name, value } of there.attributes) {
    if (here.getAttribute(name) !== value) here.setAttribute(name, value);
  }
  const known = new Map();
  for (const child of here.children) {
    if (child.id) known.set(child.id, child);
  }
  let at = here.firstChild;
  for (const child of [...there.childNodes]) {
    let same = child.id ? known.get(child.id) : at;
    if (same && (same.nodeType !== child.nodeType || same.nodeName !== child.nodeName || (same.id || '') !== (child.id || ''))) same = null;
    if (!same) {
      here.insertBefore(document.importNode(child, true), at);
      continue;
    }
    if (same === at) at = at.nextSibling;
    else here.insertBefore(same, at);
    if (child.nodeType === Node.ELEMENT_NODE) morph(same, child);
    else if (same.nodeValue !== child.nodeValue) same.nodeValue = child.nodeValue;
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function show(html) {
  const made = new DOMParser().parseFromString(html, 'text/html');
  for (const part of made.querySelectorAll('[data-live]')) {
    const here = document.getElementById(part.id);
    if (here) morph(here, part);
  }
}

function leave() {
  clearTimeout(timer);
  if (stream) stream.close();
  stream = null;
}

function follow() {
  leave();
  const url = new URL(document.body.dataset.events, location.href);
  for (const [name, value] of new URLSearchParams(location.search)) url.searchParams.append(name, value);
  stream = new EventSource(url);
  stream.onmessage = (event) => {
    show(event.data);
    say('live', 'Live');
  };
  stream.onerror = () => {
    say('lost', 'Not live: usher does not answer, or too many pages are open');
    if (stream.readyState === EventSource.CLOSED) timer = setTimeout(follow, reopenAfter);
  };
}

// go shows another view of the list without loading the page again.
async function go(url, replace) {
  leave();
  if (asked) asked.abort();
  asked = new AbortController();
  try {
    const response = await fetch(url, { signal: asked.signal });
    if (!response.ok) throw new Error(response.statusText);
    show(await response.text());
  } catch (error) {
    if (error.name === 'AbortError') return;
    say('lost', 'Not live: usher does not answer');
  }
  history[replace ? 'replaceState' : 'pushState'](null, '', url);
  timer = setTimeout(follow, settleFor);
}

// address returns the URL of the view that the form describes.
function address() {
  const url = new URL(search.action);
  const current = new URLSearchParams(location.search);
  for (const name of ['state', 'sort']) {
    if (current.get(name)) url.searchParams.set(name, current.get(name));
  }
  for (const name of ['q', 'cluster']) {
    const value = search.elements[name] && search.elements[name].value.trim();
    if (value) url.searchParams.set(name, value);
    else url.searchParams.delete(name);
  }
  return url;
}

if (search) {
  document.documentElement.classList.add('scripted');
  search.addEventListener('input', () => go(address(), true));
  search.addEventListener('submit', (event) => {
    event.preventDefault();
    go(address(), true);
  });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[data-go]');
    if (!link || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    const url = new URL(link.href);
    if (search.elements.cluster) search.elements.cluster.value = url.searchParams.get('cluster') || '';
    search.elements.q.value = url.searchParams.get('q') || '';
    go(url, false);
  });
  addEventListener('popstate', () => location.reload());
}

document.addEventListener('visibilitychange', () => {
  if (document.hidden) {
    leave();
    say('still', 'Paused');
  } else {
    follow();
  }
});
if (!document.hidden) requestAnimationFrame(() => setTimeout(follow)); // after the first paint
