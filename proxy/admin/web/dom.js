// Elements. What peers say gets onto the page by text nodes and by attributes
// that are not code, and by nothing else: there is no innerHTML here, and the
// page's policy (trusted types) has the browser refuse it.

const svgSpace = 'http://www.w3.org/2000/svg';

// h makes an HTML element; children are elements, texts, or nothing.
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

// s makes an SVG element.
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(svgSpace, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

// text sets an element's text if it is another, so that a selection in it, and a
// screen reader's place, stay.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

// keyed has a parent's children be those of the items, in their order. Elements are
// kept by key, so that the focus stays where it is; make makes a new one, and
// update is called for each.
export function keyed(parent, items, { key, make, update }) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const id = key(item);
    const known = old.get(id);
    const element = known ?? make(item);
    old.delete(id);
    element.dataset.key = id;
    if (element === place) place = place.nextElementSibling;
    else put(parent, element, place);
    update(element, item);
  }
  for (const element of old.values()) element.remove();
}

// put moves or adds an element. One that has the focus loses it on the way.
function put(parent, element, place) {
  const focused = element.contains(document.activeElement) && document.activeElement;
  parent.insertBefore(element, place);
  if (focused) focused.focus({ preventScroll: true });
}
