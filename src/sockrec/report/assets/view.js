// What all panels share: the stretch of time shown, and the moment asked about.

function makeView(facts) {
  const whole = (facts.last - facts.first) / 1e6;
  const told = [];
  const view = {
    whole,
    low: 0,
    high: whole,
    moment: 0,
    // Calls back with what changed, "zoom" or "moment".
    on: (callback) => told.push(callback),
    tell: (what) => told.forEach((callback) => callback(what)),
    zoom(low, high) {
      const least = Math.min(whole, 0.01);
      const width = Math.min(whole, Math.max(least, high - low));
      const from = Math.min(Math.max(0, (low + high - width) / 2), whole - width);
      [view.low, view.high] = [from, from + width];
      view.tell("zoom");
    },
    // Zooms by a factor about the moment, if it is shown.
    by(factor) {
      const middle =
        view.moment >= view.low && view.moment <= view.high ? view.moment : (view.low + view.high) / 2;
      view.zoom(middle - (middle - view.low) * factor, middle + (view.high - middle) * factor);
    },
    at(moment) {
      view.moment = Math.min(Math.max(0, moment), whole);
      const width = view.high - view.low;
      if (view.moment < view.low || view.moment > view.high)
        view.zoom(view.moment - width / 2, view.moment + width / 2);
      view.tell("moment");
    },
    // Where a time lies in what is shown, 0 to 1.
    part: (time) => (time - view.low) / (view.high - view.low),
  };
  return view;
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

const byId = (id) => document.getElementById(id);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
