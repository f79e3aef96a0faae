// The findings, in the order of `sockrec diagnose`.

function makeFindings(facts, view, table) {
  const place = byId("findings");
  if (!facts.findings.length)
    place.append(element("p", { class: "text" }, "Nothing was found that is known to be wrong."));
  for (const finding of facts.findings) {
    const head = element(
      "h3",
      {},
      element("span", { class: `severity ${finding.severity}` }, finding.severity),
      ` ${finding.title}`,
    );
    const then = element("p", { class: "text" }, jump(view, finding.then, finding.when), " ");
    const count = finding.sockets.length + finding.ports.length + finding.pids.length;
    if (count) {
      const show = () => {
        view.at(finding.then);
        table.only(true);
        byId("sockets").focus();
        byId("sockets").scrollIntoView();
      };
      then.append(element("button", { type: "button", class: "goto", onclick: show }, "its sockets then"));
    }
    const sql = element(
      "details",
      {},
      element("summary", {}, "look further"),
      element("p", {}, element("code", {}, finding.look)),
    );
    sql.append(
      element("p", {}, "The SQL that shows it, for ", element("code", {}, "sockrec sql"), ":"),
      element("pre", { tabindex: "0" }, finding.sql),
    );
    place.append(
      element("article", { class: finding.severity }, head, element("p", {}, finding.text), then, sql),
    );
  }
  if (facts.more_findings)
    place.append(
      element("p", { class: "text" }, `${facts.more_findings} more: sockrec diagnose tells them.`),
    );
}
