// Elements. Text enters the page through text nodes and attributes only, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fitted(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

const make = (name, attributes = {}, ...children) =>
  fitted(document.createElement(name), attributes, children);

const draw = (name, attributes = {}, ...children) =>
  fitted(document.createElementNS(SVG, name), attributes, children);

/** Calls `act` after `delay` ms without another call. */
function settled(act, delay) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(act, delay);
  };
}

/** Calls `act` at most once per frame. */
function oncePerFrame(act) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      act();
    });
  };
}

let labels = 0;

/** A control below its label. */
function labelled(words, control) {
  control.id ||= `control-${labels++}`;
  return make("div", { class: "field" }, make("label", { for: control.id }, words), control);
}

function choice(options, onchange) {
  const entries = options.map(([value, words]) => make("option", { value }, words));
  return make("select", { onchange }, entries);
}
