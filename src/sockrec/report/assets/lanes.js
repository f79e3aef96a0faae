// Who listened when: a lane for each address. Bars are elements: they can be reached, read and printed.

const SHOWN_ENDS = 4;
const SHOWN_STEADY = 8;

function makeLanes(facts, view, clock) {
  const place = byId("lanes");
  const bars = [];
  const marks = [];
  if (!facts.lanes.lanes.length) {
    place.append(element("p", { class: "text" }, "Nothing listened in that time."));
    return;
  }
  const steady = facts.lanes.lanes.filter((lane) =>
    lane.periods.every((one) => one.found && one.maybe_to == null),
  );
  const folded = steady.slice(steady.length > SHOWN_STEADY + 2 ? SHOWN_STEADY : steady.length);
  for (const lane of facts.lanes.lanes) if (!folded.includes(lane)) place.append(laneOf(lane));
  if (folded.length) {
    const summary = element("summary", {}, `${folded.length} more that listened all the time`);
    place.append(element("details", {}, summary, ...folded.map(laneOf)));
  }
  if (facts.lanes.thinned) place.append(element("p", { class: "text" }, `Thinned: ${facts.lanes.thinned}.`));
  place.append(
    element("div", { class: "lane ticks", "aria-hidden": "true" }, element("div", { class: "track" })),
  );
  const ticks = place.querySelector(".ticks .track");
  view.on(layOut);
  layOut("zoom");

  function laneOf(lane) {
    const who = [...new Set(lane.periods.map((one) => one.who))];
    const label = element(
      "div",
      { class: "label" },
      element("strong", {}, lane.label),
      ` ${who.slice(0, 3).join(", ")}`,
    );
    if (who.length > 3) label.append(` and ${who.length - 3} more`);
    const track = element("div", { class: "track" });
    for (const gap of facts.gaps) track.append(bar("gap", gap.from, gap.to, gap.why));
    for (const period of lane.periods) {
      const told = words(period);
      if (period.maybe_from != null && period.maybe_from < period.from)
        track.append(bar("maybe", period.maybe_from, period.from, told));
      if (period.maybe_to != null && period.maybe_to > period.to)
        track.append(bar("maybe", period.to, period.maybe_to, told));
      track.append(bar("period", period.from, period.to, told, true));
      if (period.maybe_to != null) track.append(bar("end", period.maybe_to, period.maybe_to, told));
    }
    track.addEventListener("click", (event) => {
      const box = track.getBoundingClientRect();
      view.at(view.low + ((event.clientX - box.left) / box.width) * (view.high - view.low));
    });
    const line = element("div", { class: "now" });
    track.append(line);
    marks.push(line);
    const made = element("div", { class: "lane" }, label, track);
    const ended = lane.periods.filter((one) => one.maybe_to != null);
    if (ended.length) made.append(ends(ended));
    return made;
  }

  function words(period) {
    const from = period.found
      ? "listening already when recording began"
      : `listening from ${clock.time(period.from)}`;
    if (period.maybe_to == null) return `${period.who}: ${from}, still when last seen`;
    return `${period.who}: ${from} to ${clock.time(period.to)}; ${reason(period)}`;
  }

  function reason(period) {
    const why =
      period.why || (period.in_gap ? "it ended in a gap of the recording" : "why it ended is not known");
    return period.again ? `${why}; ${period.again}` : `${why}; nobody listened there again`;
  }

  function ends(ended) {
    const lines = ended.map((period) => {
      const exact = period.to === period.maybe_to;
      const when = exact
        ? clock.time(period.to, 6)
        : `${clock.time(period.to)} – ${clock.time(period.maybe_to)}`;
      return element("li", {}, jump(view, period.to, when), ` stopped: ${reason(period)}`);
    });
    const list = element("ul", { class: "ends" }, ...lines.slice(0, SHOWN_ENDS));
    if (lines.length <= SHOWN_ENDS) return list;
    const more = element("details", {}, element("summary", {}, `${lines.length - SHOWN_ENDS} more ends`));
    more.append(element("ul", { class: "ends" }, ...lines.slice(SHOWN_ENDS)));
    return element("div", {}, list, more);
  }

  function bar(kind, from, to, told) {
    const made = element("div", { class: kind, title: told });
    bars.push({ made, from, to });
    return made;
  }

  function layOut(what) {
    if (what === "zoom") {
      for (const { made, from, to } of bars) {
        const [left, right] = [Math.max(0, view.part(from)), Math.min(1, view.part(to))];
        made.hidden = right < 0 || left > 1;
        made.style.left = `${left * 100}%`;
        made.style.width = `${Math.max(0, right - left) * 100}%`;
      }
      const times = clock.ticks(view.low, view.high, ticks.clientWidth / 110 || 8);
      ticks.replaceChildren(
        ...times.map((time) => {
          const made = element("span", {}, clock.label(time, times.length > 1 ? times[1] - times[0] : 1));
          made.style.left = `${view.part(time) * 100}%`;
          return made;
        }),
      );
    }
    for (const line of marks) {
      line.hidden = view.moment < view.low || view.moment > view.high;
      line.style.left = `${view.part(view.moment) * 100}%`;
    }
  }
}

// A time that can be gone to.
function jump(view, time, text) {
  return element("button", { type: "button", class: "time", onclick: () => view.at(time) }, text);
}
