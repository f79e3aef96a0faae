// Puts the page together, and the bar on top of it.

const facts = JSON.parse(byId("facts").textContent);
const clock = makeClock(facts);
const view = makeView(facts);

function makeBar(table) {
  const overview = byId("overview");
  const at = (time) => `${(time / view.whole) * 100}%`;
  const add = (kind, from, to, told) => {
    const made = element("div", { class: kind, title: told });
    made.style.left = at(from);
    if (to > from) made.style.width = at(to - from);
    overview.append(made);
    return made;
  };
  facts.gaps.forEach((gap) => add("gap", gap.from, gap.to, gap.why));
  facts.findings.forEach((one) => add(`finding ${one.severity}`, one.at, one.at, one.title));
  const shown = add("shown", 0, view.whole, "what the figures show");
  const now = add("now", 0, 0, "");
  const step = (count) => {
    const place = Math.min(Math.max(0, table.sampleAt(view.moment) + count), table.samples.length - 1);
    view.at(Math.max(0, table.samples[place]));
  };
  const keys = {
    ArrowLeft: (event) => step(event.shiftKey ? -10 : -1),
    ArrowRight: (event) => step(event.shiftKey ? 10 : 1),
    PageUp: () => view.at(view.moment - (view.high - view.low) / 10),
    PageDown: () => view.at(view.moment + (view.high - view.low) / 10),
    Home: () => view.at(0),
    End: () => view.at(view.whole),
    "+": () => view.by(0.5),
    "=": () => view.by(0.5),
    "-": () => view.by(2),
    0: () => view.zoom(0, view.whole),
  };
  overview.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    keys[event.key](event);
  });
  overview.addEventListener("click", (event) => {
    const box = overview.getBoundingClientRect();
    view.at(((event.clientX - box.left) / box.width) * view.whole);
  });
  byId("before").addEventListener("click", () => step(-1));
  byId("after").addEventListener("click", () => step(1));
  byId("in").addEventListener("click", () => view.by(0.5));
  byId("out").addEventListener("click", () => view.by(2));
  byId("whole").addEventListener("click", () => view.zoom(0, view.whole));
  overview.setAttribute("aria-valuemin", "0");
  overview.setAttribute("aria-valuemax", String(view.whole));
  const put = () => {
    now.style.left = at(view.moment);
    shown.style.left = at(view.low);
    shown.style.width = at(view.high - view.low);
    overview.setAttribute("aria-valuenow", view.moment.toFixed(6));
    overview.setAttribute("aria-valuetext", clock.time(view.moment));
    byId("moment").textContent = `${clock.time(view.moment)} ${facts.zone}`;
    const digits = view.high - view.low > 10 ? 0 : 3;
    byId("range").textContent =
      `figures: ${clock.time(view.low, digits)} to ${clock.time(view.high, digits)}`;
  };
  view.on(put);
  put();
}

function makeNotes() {
  const lines = [
    ...facts.thinned,
    ...facts.gaps
      .slice(0, 20)
      .map((gap) => `Gap ${clock.time(gap.from)} to ${clock.time(gap.to)}: ${gap.why}.`),
  ];
  if (facts.gaps.length > 20) lines.push(`${facts.gaps.length - 20} more gaps, grey in the figures.`);
  lines.push(...facts.unseen);
  lines.push(
    "The table has internet sockets. UNIX sockets, routes and counters are in the capture: sockrec replay, sockrec rates.",
  );
  byId("unseen").append(...lines.map((line) => element("li", {}, line)));
}

byId("title").textContent = facts.title;
for (const [word, text] of facts.about)
  byId("about").append(element("div", {}, element("dt", {}, word), element("dd", {}, text)));
const table = makeTable(facts, view, clock);
makeBar(table);
makeFindings(facts, view, table);
makeLanes(facts, view, clock);
const panels = makePanels(facts, view, clock);
makeNotes();
view.at(facts.findings.length ? Math.max(0, facts.findings[0].then) : view.whole);

const dark = matchMedia("(prefers-color-scheme: dark)");
dark.addEventListener("change", panels.redraw);
const PAPER_WIDTH = 690;
const folded = [];
addEventListener("beforeprint", () => {
  // Paper can't be unfolded.
  folded.push(...document.querySelectorAll("#lanes details:not([open])"));
  folded.forEach((one) => (one.open = true));
  document.documentElement.classList.add("paper");
  panels.fit(PAPER_WIDTH);
  panels.redraw();
});
addEventListener("afterprint", () => {
  folded.splice(0).forEach((one) => (one.open = false));
  document.documentElement.classList.remove("paper");
  panels.fit();
  panels.redraw();
});

// After the first picture: it is the largest part.
requestAnimationFrame(() =>
  setTimeout(async () => {
    table.open(await unpack(byId("packed").textContent, facts.moments.columns));
    document.documentElement.dataset.ready = "yes";
  }),
);
