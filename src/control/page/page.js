"use strict";
// What comes from the switch becomes text, never HTML. Elements stay where they are from one second to the next, so that
// neither the keyboard's focus nor a screen reader loses its place.
(() => {
  const $ = (id) => document.getElementById(id);
  const reasons = JSON.parse($("reasons").textContent);
  const MOST_NODES = 10, MOST_LEAVES = 24, HISTORY = 90;

  // ---- elements
  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };
  const say = (element, text) => { if (element.textContent !== text) element.textContent = text; };
  const mark = (element, state) => { if (element.dataset.state !== state) element.dataset.state = state; };
  // One child for each item, in their order; those that there are already are kept.
  const sync = (parent, items, keyOf, create, update) => {
    const known = parent.known ??= new Map();
    const seen = new Set();
    let place = parent.firstElementChild;
    for (const item of items) {
      const key = keyOf(item);
      seen.add(key);
      let child = known.get(key);
      if (!child) known.set(key, child = create(item));
      if (child === place) place = place.nextElementSibling;
      else parent.insertBefore(child, place);
      update(child, item);
    }
    for (const [key, child] of known) if (!seen.has(key)) { child.remove(); known.delete(key); }
  };

  // ---- numbers
  const PREFIXES = ["", "k", "M", "G", "T", "P"];
  const short = (number, unit = "") => {
    let step = 0;
    while (Math.abs(number) >= 999.95 && step < PREFIXES.length - 1) { number /= 1000; step += 1; }
    const digits = step === 0 && Number.isInteger(number) || number >= 100 ? 0 : number >= 10 ? 1 : 2;
    return number.toFixed(digits) + (step || unit ? " " : "") + PREFIXES[step] + unit;
  };
  const rate = (number) => (number === 0 ? "0" : short(number)) + "/s";
  const count = (number) => number.toLocaleString("en").replaceAll(",", " ");
  const percent = (part, whole) => whole > 0 ? Math.min(100, 100 * part / whole) : 0;
  const period = (seconds) => seconds < 120 ? `${seconds} s` : seconds < 7200 ? `${Math.floor(seconds / 60)} min`
    : seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} d`;
  const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

  // ---- states: a word and a sign, not a colour alone
  const STATES = {
    up: ["good", "●"], enabled: ["good", "●"], starting: ["good", "◔"], down: ["bad", "▼"], drain: ["warn", "◐"],
    drained: ["warn", "◐"], leaving: ["warn", "◐"], disabled: ["idle", "○"],
  };
  const stateOf = (name) => STATES[name] ?? ["idle", "◌"];
  const showState = (element, name) => {
    const [state, sign] = stateOf(name);
    mark(element, state);
    say(element, `${sign} ${name || "unknown"}`);
  };

  // ---- figures with their history
  const FIGURES = [
    ["received", "Frames received", (s) => [s.rates.received_per_s, rate(s.rates.received_per_s), `${rate(s.rates.forwarded_per_s)} forwarded`]],
    ["bits", "Traffic", (s) => [s.rates.received_bits_per_s, short(s.rates.received_bits_per_s, "bit/s"), `${short(s.rates.sent_bits_per_s, "bit/s")} sent`]],
    ["new", "New connections", (s) => [s.rates.connections_new_per_s, rate(s.rates.connections_new_per_s), `${count(s.connections.new)} so far`]],
    ["active", "Connections", (s) => [s.connections.active, short(s.connections.active), `of ${short(s.connections.max)} IPv4 and ${short(s.connections.max_ipv6)} IPv6`]],
    ["dropped", "Dropped frames", (s) => [s.rates.dropped_per_s, rate(s.rates.dropped_per_s), `${count(s.totals.dropped_total)} so far`]],
  ];
  const history = new Map(FIGURES.map(([key]) => [key, []]));
  const SVG = "http://www.w3.org/2000/svg";
  const spark = () => {
    const svg = document.createElementNS(SVG, "svg");
    for (const [name, value] of [["class", "spark"], ["viewBox", "0 0 100 30"], ["preserveAspectRatio", "none"], ["aria-hidden", "true"]]) svg.setAttribute(name, value);
    const area = document.createElementNS(SVG, "path");
    area.setAttribute("class", "area");
    svg.append(area, document.createElementNS(SVG, "path"));
    return svg;
  };
  const draw = (svg, values) => {
    const top = Math.max(...values, 1e-9);
    const x = (i) => 100 - (values.length - 1 - i) * 100 / (HISTORY - 1);
    const line = values.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(2)} ${(29 - 27 * value / top).toFixed(2)}`).join("");
    svg.lastElementChild.setAttribute("d", line);
    svg.firstElementChild.setAttribute("d", `${line}L100 30L${x(0).toFixed(2)} 30Z`);
  };
  const showFigures = (status) => sync($("figures"), FIGURES, ([key]) => key, ([key, title]) => {
    const parts = { value: make("strong"), more: make("small"), spark: spark() };
    const article = make("article", { id: `figure-${key}` }, make("h3", {}, title), parts.value, parts.more, parts.spark);
    return Object.assign(article, { parts });
  }, ({ parts }, [key, , of]) => {
    const [value, text, more] = of(status);
    say(parts.value, text);
    say(parts.more, more);
    const values = history.get(key);
    values.push(value);
    if (values.length > HISTORY) values.shift();
    parts.spark.classList.toggle("alarm", key === "dropped" && values.some((one) => one > 0));
    draw(parts.spark, values);
  });

  // ---- what is wrong
  const EVERYDAY = new Set(["denied", "icmp_forged", "neighbor_heard", "no_connection", "not_served", "snat_filtered", "tcp_flags"]);
  const troubles = (status) => {
    const found = [];
    const add = (state, ...parts) => found.push({ state, parts });
    for (const service of status.services) {
      const { backends, serving, backups, backups_serving: onBackups } = service.serving;
      if (service.state === "enabled" && backends + backups > 0 && serving + onBackups === 0) add("bad", service.name, "no backend takes new connections");
      else if (service.state === "enabled" && onBackups > 0 && backends > 0 && serving === 0) add("warn", service.name, "only backups serve");
      if (service.syn_cookies.workers) add("warn", service.name, "SYNs are answered with cookies");
      else if (service.state === "drain" || service.state === "disabled") add("warn", service.name, service.state === "drain" ? "is drained" : "is disabled");
      for (const backend of service.backends) {
        if (backend.state === "down") add(serving + onBackups ? "warn" : "bad", `${service.name} ${backend.address}`, `is down${backend.why ? ": " + backend.why : ""}`);
        else if (backend.next_hop === null) add("warn", `${service.name} ${backend.address}`, "no route leads to it");
      }
    }
    for (const [reason, now] of Object.entries(status.rates.dropped_by_reason_per_s)) {
      // Late segments, scans and the uninvited are daily bread, unless they are many.
      const few = EVERYDAY.has(reason) ? Math.max(1, status.rates.received_per_s / 50) : 1;
      if (now >= few) add("warn", rate(now), `dropped as ${reason}`);
    }
    for (const port of status.ports) if (port.link !== "up") add("bad", port.interface, `is ${port.link}`);
    const { active, active_ipv6: v6, max, max_ipv6: maxV6 } = status.connections;
    for (const [family, fill] of [["IPv4", percent(active - v6, max)], ["IPv6", percent(v6, maxV6)]]) {
      if (fill > 85) add("warn", `The table of ${family} connections`, `is ${fill.toFixed(0)} % full`);
    }
    if (status.view_age_s > 2) add("warn", "The control loop is busy", `states and checks are ${status.view_age_s} s old`);
    return found.sort((a, b) => (a.state === "bad" ? 0 : 1) - (b.state === "bad" ? 0 : 1));
  };
  let saidTrouble = null;
  const showTrouble = (status) => {
    const all = troubles(status);
    const some = all.slice(0, 6);
    const key = JSON.stringify([some, all.length]);
    if (key === saidTrouble) return;
    saidTrouble = key;
    mark($("trouble"), all.some(({ state }) => state === "bad") ? "bad" : all.length ? "warn" : "good");
    const items = some.map(({ parts: [what, why] }) => make("li", {}, make("b", {}, what), ` ${why}`));
    if (all.length > some.length) items.push(make("li", {}, `and ${all.length - some.length} more`));
    $("trouble").replaceChildren(all.length ? make("ul", {}, ...items) : make("p", {}, "● All backends are well, nothing is lost."));
  };

  // ---- topology
  const node = () => {
    const parts = { sign: make("i", { "aria-hidden": "true" }), name: make("b"), more: make("span") };
    return Object.assign(make("li", {}, parts.sign, parts.name, parts.more), { parts });
  };
  const EDGES = { good: "var(--good)", warn: "var(--warn)", bad: "var(--bad)" };
  const edge = (element, state) => element.style.setProperty("--edge", EDGES[state] ?? "var(--quiet)");
  const showTopology = (status) => {
    const interfaces = [...new Map(status.ports.map((port) => [port.interface, port])).values()];
    sync($("interfaces"), interfaces, (port) => port.interface, node, (item, port) => {
      const queues = status.ports.filter((other) => other.interface === port.interface).length;
      say(item.parts.name, port.interface);
      say(item.parts.more, [port.link, port.xdp_mode, port.copy_mode, plural(queues, "queue")].filter(Boolean).join(" · "));
      edge(item, port.link === "up" ? "good" : "bad");
    });
    const services = status.services.slice(0, MOST_NODES);
    sync($("nodes"), services, (service) => `${service.vip}/${service.protocol}`, node, (item, service) => {
      say(item.parts.name, service.name);
      say(item.parts.more, `${service.vip}/${service.protocol} · ${rate(service.rates.packets_in_per_s)}`);
      edge(item, stateOf(service.state)[0]);
    });
    const leaves = services.flatMap((service) => service.backends.map((backend) => ({ service, backend }))).slice(0, MOST_LEAVES);
    const keyOf = ({ service, backend }) => `${service.vip}/${service.protocol} ${backend.address}`;
    sync($("leaves"), leaves, keyOf, node, (item, { backend }) => {
      const [state, sign] = stateOf(backend.state);
      const way = backend.next_hop ? `via ${backend.next_hop.interface}` : "no route";
      say(item.parts.sign, `${sign} `);
      say(item.parts.name, backend.address);
      say(item.parts.more, `${backend.state || "unknown"} · ${rate(backend.rates.packets_in_per_s)} · ${way}`);
      edge(item, state);
    });
    const more = status.services.length + status.services_left_out - services.length;
    const lost = services.reduce((sum, service) => sum + service.backends.length, 0) - leaves.length;
    say($("topology-more"), [more && plural(more, "more service"), lost && plural(lost, "more backend")].filter(Boolean).join(", "));
    showWires(interfaces, services, leaves, keyOf);
  };
  const showWires = (interfaces, services, leaves, keyOf) => {
    const frame = $("topology").getBoundingClientRect();
    const place = (list, key, right) => {
      const box = $(list).known.get(key).getBoundingClientRect();
      return [(right ? box.right : box.left) - frame.left, box.top + box.height / 2 - frame.top];
    };
    const wires = [];
    for (const service of services) {
      const key = `${service.vip}/${service.protocol}`;
      for (const port of interfaces) {
        wires.push({ from: place("interfaces", port.interface, true), to: place("nodes", key, false), flow: 0, state: port.link === "up" ? "idle" : "bad" });
      }
    }
    for (const leaf of leaves) {
      const key = `${leaf.service.vip}/${leaf.service.protocol}`;
      const [state] = stateOf(leaf.backend.state);
      wires.push({ from: place("nodes", key, true), to: place("leaves", keyOf(leaf), false), flow: leaf.backend.rates.packets_in_per_s, state });
    }
    const create = () => document.createElementNS(SVG, "path");
    sync($("wires"), wires.map((wire, key) => ({ ...wire, key })), ({ key }) => key, create, (path, { from, to, flow, state }) => {
      const middle = (from[0] + to[0]) / 2;
      path.setAttribute("d", `M${from[0]} ${from[1]}C${middle} ${from[1]} ${middle} ${to[1]} ${to[0]} ${to[1]}`);
      path.setAttribute("stroke-width", (1.5 + Math.min(6, Math.log10(1 + flow))).toFixed(1));
      mark(path, state);
    });
  };

  // ---- services
  const HEADINGS = [["Backend"], ["State"], ["Weight", "n"], ["Open", "n"], ["New", "n"], ["In", "n"], ["Out", "n"], ["Answers in", "n"], ["Why, last check"], ["", "order"]];
  const orderButton = (service, backend) => {
    const button = make("button", { type: "button", class: "order" });
    button.addEventListener("click", () => order(service, backend, button.dataset.change));
    return button;
  };
  const showButton = (button, state, of) => {
    const change = state === "enabled" || state === "up" || state === "down" || state === "starting" ? "drain" : "enable";
    button.dataset.change = change;
    button.hidden = state === "leaving" || state === "";
    say(button, change === "drain" ? "Drain" : "Enable");
    button.setAttribute("aria-label", `${change === "drain" ? "Drain" : "Enable"} ${of}`);
  };
  const createService = (service) => {
    const parts = {
      state: make("span", { class: "state" }), facts: make("p", { class: "facts quiet" }), rates: make("p", { class: "rates" }),
      button: orderButton(service.name, null), rows: make("tbody"), more: make("p", { class: "quiet" }),
    };
    const headings = HEADINGS.map(([text, kind = ""]) => make("th", { scope: "col", class: kind }, text));
    const table = make("table", {}, make("thead", {}, make("tr", {}, ...headings)), parts.rows);
    const article = make("article", { "data-service": service.name },
      make("div", { class: "head" }, make("h3", {}, service.name), parts.state, parts.facts, parts.rates, parts.button),
      make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Backends of ${service.name}` }, table));
    return Object.assign(article, { parts });
  };
  const updateService = ({ parts }, service) => {
    const { backends, serving, backups, backups_serving: onBackups } = service.serving;
    showState(parts.state, service.state);
    const reserve = backups ? `, ${onBackups} of ${plural(backups, "backup")}` : "";
    const refused = service.refused ? `, ${count(service.refused)} refused` : "";
    const limited = service.limited ? `, ${count(service.limited)} beyond limits` : "";
    const cookies = service.syn_cookies.workers ? ", SYNs are answered with cookies" : "";
    say(parts.facts, `${service.vip}/${service.protocol} · ${service.forwarding} · ${service.scheduler} · ${serving} of ${backends} serve${reserve}${refused}${limited}${cookies}`);
    const { rates } = service;
    say(parts.rates, `${rate(rates.connections_new_per_s)} new · ${short(rates.bits_in_per_s, "bit/s")} in · ${short(rates.bits_out_per_s, "bit/s")} out`);
    showButton(parts.button, service.state, `service ${service.name}`);
    sync(parts.rows, service.backends, (backend) => backend.address, (backend) => {
      const cells = HEADINGS.map(([, kind = ""]) => make("td", { class: kind }));
      const state = make("span", { class: "state" });
      const button = orderButton(service.name, backend.address);
      const last = make("small");
      const why = document.createTextNode("");
      cells[0].append(make("code", {}, backend.address));
      cells[1].append(state);
      cells[8].className = "why";
      cells[8].append(why, last);
      cells[9].append(button);
      return Object.assign(make("tr", { "data-backend": backend.address }, ...cells), { parts: { cells, state, button, why, last } });
    }, ({ parts: { cells, state, button, why, last } }, backend) => {
      showState(state, backend.state);
      say(cells[2], `${backend.weight}${backend.share < 100 && backend.share > 0 ? ` × ${backend.share} %` : ""}`);
      say(cells[3], count(backend.connections_open));
      say(cells[4], rate(backend.rates.connections_new_per_s));
      say(cells[5], short(backend.rates.bits_in_per_s, "bit/s"));
      say(cells[6], short(backend.rates.bits_out_per_s, "bit/s"));
      say(cells[7], backend.response_us ? `${(backend.response_us / 1000).toFixed(1)} ms` : "–");
      const end = backend.drain_left_s === null ? "" : `connections end in ${period(backend.drain_left_s)}`;
      say(why, [backend.backup && "backup", backend.why, end].filter(Boolean).join(", "));
      const check = backend.health?.last ?? "";
      say(last, check === backend.why ? "" : check);
      showButton(button, backend.state, `backend ${backend.address} of ${service.name}`);
    });
  };
  const showServices = (status) => {
    sync($("services"), status.services, (service) => `${service.vip}/${service.protocol} ${service.name}`, createService, updateService);
    const { services_left_out: services, backends_left_out: backends } = status;
    const left = [services && plural(services, "service"), backends && plural(backends, "backend")].filter(Boolean).join(" and ");
    say($("services-more"), left && `${left} more than fit here: xswitch backends`);
    const options = [{ name: "", text: "any" }, ...status.services.map(({ name }) => ({ name, text: name }))];
    const select = document.forms.search.elements.service;
    if (!select.known) select.replaceChildren();
    sync(select, options, ({ name }) => name, ({ name, text }) => make("option", { value: name }, text), () => {});
  };

  // ---- drops and workers
  const showDrops = (status) => {
    const now = status.rates.dropped_by_reason_per_s;
    const rows = Object.entries(status.dropped).filter(([, total]) => total > 0).sort((a, b) => b[1] - a[1]);
    $("no-drops").hidden = rows.length > 0;
    sync($("drops"), rows, ([reason]) => reason, ([reason]) => {
      const cells = [make("td", {}, make("code", {}, reason), make("small", {}, reasons[reason] ?? "")), make("td", { class: "n" }), make("td", { class: "n" })];
      return Object.assign(make("tr", {}, ...cells), { parts: { cells } });
    }, ({ parts: { cells } }, [reason, total]) => {
      say(cells[1], rate(now[reason] ?? 0));
      say(cells[2], count(total));
    });
  };
  let former = null;
  const showWorkers = (status) => {
    const before = new Map((former?.status.workers ?? []).map((worker) => [worker.worker, worker]));
    const seconds = former ? (performance.now() - former.at) / 1000 : 0;
    const gauge = () => make("meter", { min: "0", max: "100", "aria-hidden": "true" });
    sync($("workers"), status.workers, (worker) => worker.worker, () => {
      const busy = gauge(), pool = gauge(), texts = [0, 0].map(() => document.createTextNode(""));
      const cells = [make("td"), make("td", { class: "level" }, busy, texts[0]), make("td", { class: "n" }), make("td", { class: "level" }, pool, texts[1]), make("td", { class: "n" })];
      return Object.assign(make("tr", {}, ...cells), { parts: { cells, busy, pool, texts } });
    }, ({ parts: { cells, busy, pool, texts } }, worker) => {
      const last = before.get(worker.worker) ?? worker;
      const share = percent(worker.busy_turns - last.busy_turns, worker.turns - last.turns);
      const used = percent(worker.pool_size - worker.pool_level, worker.pool_size);
      say(cells[0], worker.core === null ? `${worker.worker}` : `${worker.worker}, core ${worker.core}`);
      [busy.value, pool.value] = [share, used];
      say(texts[0], `${share.toFixed(0)} %`);
      say(cells[2], seconds > 0 ? rate(Math.max(0, Math.round((worker.received - last.received) / seconds))) : "–");
      say(texts[1], `${used.toFixed(0)} %`);
      say(cells[4], count(worker.connections_active));
    });
    former = { status, at: performance.now() };
  };

  // ---- all of it
  let heard = 0;
  const show = (status) => {
    heard = performance.now();
    say($("about"), `${status.version}, up ${period(status.uptime_s)}, process ${status.pid}, ${short(status.resident_bytes, "B")} of memory`);
    showTrouble(status);
    showFigures(status);
    showServices(status);
    showTopology(status);
    showDrops(status);
    showWorkers(status);
    const serving = status.services.reduce((sum, service) => sum + service.serving.serving, 0);
    const all = status.services.reduce((sum, service) => sum + service.serving.backends, 0);
    document.title = `xswitch: ${serving} of ${all} backends serve`;
  };
  const live = (state, text) => { mark($("live"), state); say($("live"), text); };
  // Where all places of followers are taken, the page asks by itself.
  const poll = async () => {
    try {
      const answer = await fetch("/v1/status");
      if (!answer.ok) throw new Error();
      show(await answer.json());
      live("good", "every 5 s");
    } catch { /* the clock says so */ }
  };
  const follow = () => {
    const events = new EventSource("/v1/events");
    let polling = 0;
    events.onmessage = (event) => { show(JSON.parse(event.data)); live("good", "live"); };
    events.onerror = () => {
      if (events.readyState !== EventSource.CLOSED) return;
      poll();
      polling ||= setInterval(poll, 5000);
      setTimeout(() => { clearInterval(polling); follow(); }, 20000);
    };
  };
  setInterval(() => {
    const silent = Math.round((performance.now() - heard) / 1000);
    if (heard && silent > 7) live("bad", `no news for ${period(silent)}`);
  }, 1000);
  addEventListener("resize", () => former && showTopology(former.status));

  // ---- search
  document.forms.search.addEventListener("submit", async (event) => {
    event.preventDefault();
    const { elements } = event.target;
    const filter = {};
    for (const name of ["client", "service", "backend", "state"]) {
      const value = elements[name].value.trim();
      if (value) filter[name] = value;
    }
    const found = $("found"), table = $("connections").closest(".scroll");
    mark(found, "wait");
    say(found, "Looking…");
    try {
      const answer = await send("/v1/connections", { filter, sort: elements.sort.value, limit: 200 });
      if (!answer.ok) throw new Error((await answer.text()).trim());
      const { total, connections, looked_at: looked, entries } = await answer.json();
      const part = looked < entries ? ` in the first ${percent(looked, entries).toFixed(0)} % of the table` : "";
      const shown = connections.length < total ? `, ${connections.length} of them shown` : "";
      say(found, `${plural(total, "connection")}${part}${shown}.`);
      table.hidden = connections.length === 0;
      $("connections").replaceChildren(...connections.map((row) => make("tr", {},
        make("td", {}, make("code", {}, row.client)), make("td", {}, make("code", {}, `${row.destination}/${row.protocol}`)),
        make("td", {}, row.service ?? row.forwarding), make("td", {}, make("code", {}, row.backend ?? "–")), make("td", {}, row.state),
        make("td", { class: "n" }, period(row.idle_s)), make("td", { class: "n" }, period(row.expires_in_s)))));
    } catch (error) {
      mark(found, "bad");
      say(found, error.message || "The switch does not answer.");
      table.hidden = true;
    }
  });

  // ---- orders: the token lives in this variable, and ends with the tab
  let token = null, quiet = 0;
  const send = (path, body, key = token) => fetch(path, {
    method: "POST", body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...(key === null ? {} : { authorization: `Bearer ${key}` }) },
  });
  const tell = (text) => {
    say($("said"), text);
    clearTimeout(quiet);
    quiet = setTimeout(() => say($("said"), ""), 8000);
  };
  const lockUp = (key) => {
    token = key;
    document.body.classList.toggle("unlocked", key !== null);
    say($("lock"), key === null ? "Unlock orders" : "Lock orders");
  };
  const ask = (title, text, yes, withToken) => new Promise((resolve) => {
    const dialog = $("ask"), input = $("ask-token").querySelector("input");
    say($("ask-title"), title);
    say($("ask-text"), text);
    say($("ask-yes"), yes);
    say($("ask-wrong"), "");
    $("ask-token").hidden = !withToken;
    input.value = "";
    dialog.returnValue = "no";
    dialog.onclose = () => { const given = input.value; input.value = ""; resolve(dialog.returnValue === "yes" ? given : null); };
    dialog.showModal();
    (withToken ? input : $("ask-yes")).focus();
  });
  $("ask").querySelector("form").addEventListener("submit", (event) => {
    // Enter means yes, not the first button.
    if (event.submitter === null || event.submitter.value === "yes") $("ask").returnValue = "yes";
  });
  $("ask-token").addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); $("ask").close("yes"); }
  });
  $("lock").addEventListener("click", async () => {
    if (token !== null) return lockUp(null);
    const given = await ask("Unlock orders", "The token is what the file of status_token_file holds. This page forgets it when it is closed.", "Unlock", true);
    if (given === null) return;
    const key = given.trim();
    try {
      const answer = await send("/v1/token", {}, /^[!-~]+$/.test(key) ? key : "-");
      if (answer.ok) lockUp(key);
      tell(answer.ok ? "Orders are unlocked." : (await answer.text()).trim());
    } catch { tell("The switch does not answer."); }
  });
  const order = async (service, backend, change) => {
    const what = backend ? `${backend} of ${service}` : `service ${service}`;
    if (change === "drain") {
      const text = "It gets no new connections. Those that there are go on.";
      if (await ask(`Drain ${what}?`, text, "Drain", false) === null) return;
    }
    try {
      const answer = await send("/v1/orders", { service, backend, change });
      if (answer.status === 401) lockUp(null);
      tell(answer.ok ? (await answer.json()).changes.join(", ") || "Nothing changed." : (await answer.text()).trim());
    } catch { tell("The switch does not answer."); }
  };

  const orders = document.body.dataset.orders === "yes";
  $("lock").hidden = !orders;
  $("readonly").hidden = orders;
  follow();
})();
