// The figures: a panel each, on the time axis that all share.

const AXIS_WIDTH = 76;
const RIGHT_MARGIN = 32;
const PANEL_HEIGHT = 170;
const SYNC = "time";

function makePanels(facts, view, clock) {
  const plots = [];
  const place = byId("figures");
  const steps = Array.from({ length: facts.axes.steps + 1 }, (_, n) => facts.axes.grid + n * facts.axes.step);
  const axes = { samples: facts.axes.samples, steps };
  for (const figure of facts.figures) place.append(panel(figure));

  function panel(figure) {
    const heading = element("h2", { id: `h-${figure.name}` }, figure.title);
    const section = element(
      "section",
      { class: "panel", id: figure.name, "aria-labelledby": heading.id },
      heading,
    );
    if (!figure.series.length) {
      section.classList.add("empty");
      section.append(element("p", { class: "text" }, figure.nothing));
      return section;
    }
    const notes = [
      figure.text,
      figure.axis === "steps" ? `In steps of ${plain.format(facts.axes.step)}\u00a0s.` : "",
    ];
    if (figure.thinned) notes.push(`Thinned: ${figure.thinned}.`);
    section.append(element("p", { class: "text" }, notes.filter(Boolean).join(" ")));
    const box = element("div", { class: "plot", role: "img", "aria-label": summary(figure) });
    section.append(box);
    queueMicrotask(() => plots.push(draw(figure, box)));
    return section;
  }

  function xOf(figure) {
    return Array.isArray(figure.axis) ? figure.axis : axes[figure.axis];
  }

  function summary(figure) {
    const x = xOf(figure);
    const parts = figure.series.map((one) => {
      let top = -1;
      one.values.forEach((value, n) => {
        if (value != null && (top < 0 || Math.abs(value) > Math.abs(one.values[top]))) top = n;
      });
      return top < 0
        ? one.name
        : `${one.name}: at most ${amount(one.values[top], figure.unit)} at ${clock.time(x[top], 0)}`;
    });
    return `${figure.title}. ${parts.join("; ")}`;
  }

  function draw(figure, box) {
    const x = xOf(figure);
    const padded = figure.axis === "steps";
    const columns = figure.series.map((one) =>
      padded ? [...one.values, figure.look === "line" ? one.values.at(-1) : null] : one.values,
    );
    const line = uPlot.paths.stepped({ align: 1 });
    const paths = { line, bars: uPlot.paths.bars({ size: [0.9, 60], align: 1 }), dots: () => null }[
      figure.look
    ];
    const series = figure.series.map((one) => ({
      label: one.name,
      stroke: () => colour(one.colour),
      fill: figure.look === "bars" ? () => colour(one.colour) : undefined,
      width: figure.look === "bars" ? 0 : 1.75,
      dash: one.dashed ? [5, 4] : undefined,
      paths,
      points:
        figure.look === "dots" ? { show: true, size: 5, fill: () => colour(one.colour) } : { show: false },
      value: (_, value) => amount(value, figure.unit),
    }));
    const look = {
      stroke: () => colour("soft"),
      grid: { stroke: () => colour("grid"), width: 1 },
      ticks: { stroke: () => colour("grid"), width: 1, size: 5 },
      font: "12px system-ui, sans-serif",
    };
    const options = {
      width: Math.max(200, box.clientWidth),
      height: PANEL_HEIGHT,
      padding: [10, RIGHT_MARGIN, 0, 0],
      // By the names of the style: on paper, or in the dark, they are others.
      legend: {
        markers: {
          stroke: (_, n) => `var(--${figure.series[n - 1].colour})`,
          dash: (_, n) => (figure.series[n - 1].dashed ? "dashed" : "solid"),
          fill: (_, n) => (figure.look === "bars" ? `var(--${figure.series[n - 1].colour})` : "transparent"),
        },
      },
      scales: { x: { time: false, range: () => [view.low, view.high] }, y: { range: figure.look === "line" ? steppedRange : yRange } },
      series: [{ label: "at", value: (_, time) => (time == null ? "–" : clock.time(time, 1)) }, ...series],
      axes: [
        {
          ...look,
          size: 30,
          splits: (u, _, low, high) => clock.ticks(low, high, u.width / 110),
          values: (_, splits) =>
            splits.map((one) => clock.label(one, splits.length > 1 ? splits[1] - splits[0] : 1)),
        },
        {
          ...look,
          size: AXIS_WIDTH,
          space: 34,
          values: (_, splits) => splits.map((one) => (one == null ? "" : amount(one, figure.unit))),
        },
      ],
      cursor: {
        sync: { key: SYNC, setSeries: false },
        drag: { x: true, y: false, setScale: false },
        y: false,
        points: { size: 6 },
        bind: { dblclick: () => () => view.zoom(0, view.whole) },
      },
      hooks: {
        drawClear: [(u) => facts.gaps.forEach((gap) => band(u, gap.from, gap.to, colour("gap")))],
        setSelect: [(u) => select(u)],
        setCursor: [() => queueMicrotask(settle)],
        ready: [() => queueMicrotask(settle)],
      },
    };
    // Where no pointer is, the legend tells of the moment.
    const now = element("div", { class: "now" });
    const settle = () => plot.cursor.left < 0 && plot.setLegend({ idx: placeOf(x, view.moment) }, false);
    const plot = new uPlot(options, [x, ...columns], box);
    plot.over.append(now);
    const mark = () => {
      now.hidden = view.moment < view.low || view.moment > view.high;
      now.style.left = `${view.part(view.moment) * 100}%`;
    };
    mark();
    let pressed = null;
    plot.over.addEventListener("mousedown", (event) => (pressed = event.clientX));
    plot.over.addEventListener("click", (event) => {
      const left = event.clientX - plot.over.getBoundingClientRect().left;
      if (pressed != null && Math.abs(event.clientX - pressed) < 4 && event.detail < 2)
        view.at(plot.posToVal(left, "x"));
    });
    new ResizeObserver(() => resize(plot, box.clientWidth)).observe(box);
    return { plot, box, settle, mark };
  }

  // The last place before or at a time.
  function placeOf(x, time) {
    const after = x.findIndex((one) => one > time);
    return after < 0 ? x.length - 1 : Math.max(0, after - 1);
  }

  // A step that began before the picture does is in it, too.
  function steppedRange(u, low, high) {
    const place = placeOf(u.data[0], view.low);
    const before = u.data.slice(1).map((values) => values[place]);
    const all = [low, high, ...before].filter((value) => value != null);
    return all.length ? yRange(u, Math.min(...all), Math.max(...all)) : yRange(u, null, null);
  }

  function yRange(u, low, high) {
    if (low == null) return [0, 1];
    const room = (Math.max(high, 0) - Math.min(low, 0)) * 0.08 || 1;
    return [low < 0 ? low - room : 0, Math.max(high, 0) + room];
  }

  function band(u, from, to, fill) {
    const left = Math.max(u.bbox.left, u.valToPos(from, "x", true));
    const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(to, "x", true));
    if (right < u.bbox.left || left > u.bbox.left + u.bbox.width) return;
    u.ctx.save();
    u.ctx.fillStyle = fill;
    const width = Math.max(right - left, 1.5 * devicePixelRatio);
    u.ctx.fillRect(left, u.bbox.top, width, u.bbox.height);
    u.ctx.restore();
  }

  function select(u) {
    if (u.select.width > 3)
      view.zoom(u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x"));
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  function resize(plot, width) {
    if (width > 0 && Math.round(width) !== plot.width)
      plot.setSize({ width: Math.round(width), height: PANEL_HEIGHT });
  }

  view.on((what) => {
    for (const { plot, settle, mark } of plots) {
      if (what === "zoom") plot.setScale("x", { min: view.low, max: view.high });
      else settle();
      mark();
    }
  });
  return {
    plots,
    redraw: () => plots.forEach(({ plot }) => plot.redraw(false, true)),
    fit: (width) => plots.forEach(({ plot, box }) => resize(plot, width ?? box.clientWidth)),
  };
}
