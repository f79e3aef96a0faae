// The sockets of a moment, put together from what changed.

const SHOWN_ROWS = 200;
const MORE_ROWS = 1000;
const COLUMNS = [
  { name: "Proto", key: (row) => row.proto },
  { name: "Recv-Q", key: (row) => row.recv, number: true },
  { name: "Send-Q", key: (row) => row.send, number: true },
  { name: "Local Address", key: (row) => row.local },
  { name: "Foreign Address", key: (row) => row.remote },
  { name: "State", key: (row) => row.state },
  { name: "PID/Program name", key: (row) => row.program },
];
const ORDER = new Intl.Collator("en", { numeric: true });

function makeTable(facts, view, clock) {
  const { texts, names, samples, ends } = facts.moments;
  const search = byId("words");
  const marked = byId("marked");
  let columns = null;
  let rows = [];
  let matching = [];
  let shown = SHOWN_ROWS;
  let sorted = { column: -1, down: false };
  let drawn = -1;
  const known = new Map();
  for (const one of names) known.set(one[0], [...(known.get(one[0]) ?? []), one]);
  const by = { sockets: new Map(), ports: new Map(), pids: new Map() };
  facts.findings.forEach((finding) => {
    for (const kind of Object.keys(by)) finding[kind].forEach((one) => by[kind].set(one, finding.title));
  });

  // The latest sample that had begun by a time; the first of all for an earlier one.
  function sampleAt(time) {
    let [low, high] = [0, samples.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      // A click is no more exact than what is shown of it.
      if (samples[middle] <= time + 5e-7) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  function programAt(pid, name, sample) {
    if (!pid) return "-";
    for (const [, low, high, told] of known.get(pid) ?? []) if (low <= sample && sample <= high) name = told;
    return `${pid}/${name}`;
  }

  function at(sample) {
    const c = columns;
    const queues = new Map();
    for (let n = 0; n < c.move_n.length && c.move_n[n] <= sample; n++) queues.set(c.move_socket[n], n);
    const found = [];
    for (let n = 0; n < c.lo.length && c.lo[n] <= sample; n++) {
      if (c.lo[n] + c.more[n] < sample) continue;
      const move = queues.get(c.socket[n]);
      const [local, remote] = [c.local_port[n], c.remote_port[n]];
      found.push({
        place: c.place[n],
        proto: texts.protocol[c.protocol[n]],
        recv: move == null ? 0 : c.move_recv[move],
        send: move == null ? 0 : c.move_send[move],
        local: `${texts.local[c.local[n]]}:${local || "*"}`,
        remote: `${texts.remote[c.remote[n]]}:${remote || "*"}`,
        state: texts.state[c.state[n]],
        program: programAt(c.pid[n], texts.program[c.program[n]], sample),
        mark:
          by.sockets.get(c.socket[n]) ?? by.ports.get(local) ?? by.ports.get(remote) ?? by.pids.get(c.pid[n]),
      });
    }
    return found.sort((one, other) => one.place - other.place);
  }

  function wanted() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (row) => {
      if (marked.checked && !row.mark) return false;
      const text = `${row.proto} ${row.local} ${row.remote} ${row.state} ${row.program}`.toLowerCase();
      return words.every((word) => text.includes(word));
    };
    matching = rows.filter(fits);
    if (sorted.column >= 0) {
      const { key, number } = COLUMNS[sorted.column];
      const compare = number
        ? (one, other) => key(one) - key(other)
        : (one, other) => ORDER.compare(key(one), key(other));
      matching.sort((one, other) => (sorted.down ? -1 : 1) * compare(one, other) || one.place - other.place);
    }
    put();
  }

  function put() {
    const lines = matching.slice(0, shown).map((row) => {
      const line = element("tr", row.mark ? { class: "mark" } : {});
      COLUMNS.forEach(({ key, number }, n) => {
        const cell = element("td", number ? { class: "number" } : {}, String(key(row)));
        if (!n && row.mark)
          cell.append(
            element(
              "span",
              { class: "flag", role: "img", "aria-label": `of a finding: ${row.mark}`, title: row.mark },
              "●",
            ),
          );
        line.append(cell);
      });
      return line;
    });
    byId("rows").replaceChildren(...lines);
    const all = plain.format(rows.length);
    const count =
      matching.length === rows.length
        ? `${all} sockets`
        : `${plain.format(matching.length)} of ${all} sockets`;
    byId("count").textContent =
      matching.length > shown ? `${count}, the first ${plain.format(shown)} shown` : count;
    byId("more").hidden = matching.length <= shown;
    byId("more").textContent = `Show ${plain.format(Math.min(MORE_ROWS, matching.length - shown))} more`;
  }

  function heads() {
    const cells = COLUMNS.map(({ name, number }, n) => {
      const direction = sorted.column !== n ? "none" : sorted.down ? "descending" : "ascending";
      const arrow = { none: "", ascending: " ▲", descending: " ▼" }[direction];
      const button = element(
        "button",
        { type: "button", onclick: () => sort(n) },
        name,
        element("span", { "aria-hidden": "true" }, arrow),
      );
      return element("th", { scope: "col", "aria-sort": direction, class: number ? "number" : "" }, button);
    });
    byId("columns").replaceChildren(...cells);
  }

  // Up, down, and as netstat has them; queues the longest first.
  function sort(column) {
    const first = Boolean(COLUMNS[column].number);
    if (sorted.column !== column) sorted = { column, down: first };
    else if (sorted.down === first) sorted = { column, down: !first };
    else sorted = { column: -1, down: false };
    heads();
    byId("columns").children[column].firstChild.focus();
    wanted();
  }

  function said(sample) {
    const gap = facts.gaps.find((one) => view.moment > one.from && view.moment < one.to);
    const parts = [
      `As of the sample of ${clock.time(samples[sample], 6)} ${facts.zone}, in netstat's words and order.`,
    ];
    if (gap) parts.push(`In a gap (${gap.why}): shown as it was before.`);
    else if (
      view.moment > ends[sample] &&
      sample + 1 < samples.length &&
      facts.moments.place[sample + 1] > facts.moments.place[sample] + 1
    ) {
      parts.push("The samples that follow it are not on this page.");
    }
    return parts.join(" ");
  }

  function show() {
    byId("at").textContent = clock.time(view.moment);
    if (!columns) return;
    const sample = sampleAt(view.moment);
    byId("as-of").textContent = said(sample);
    byId("same").textContent = `${facts.command} --at ${clock.iso(view.moment)} ${facts.flags}`;
    if (sample === drawn) return;
    drawn = sample;
    rows = at(sample);
    shown = SHOWN_ROWS;
    wanted();
  }

  search.addEventListener("input", () => ((shown = SHOWN_ROWS), wanted()));
  marked.addEventListener("change", () => ((shown = SHOWN_ROWS), wanted()));
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  byId("more").addEventListener("click", () => ((shown += MORE_ROWS), put()));
  // Drawn once for all that changes within a frame.
  let due = false;
  view.on((what) => {
    if (what !== "moment" || due) return;
    due = true;
    requestAnimationFrame(() => ((due = false), show()));
  });
  heads();
  byId("as-of").textContent = "Opening…";
  return {
    samples,
    sampleAt,
    only(yes) {
      marked.checked = yes;
      wanted();
    },
    open(opened) {
      columns = opened;
      show();
    },
  };
}
