"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Tables: every header becomes a button that sorts; a case's two rows lie in one tbody and move together.
  const value = (cell) => {
    const text = (cell.dataset.v ?? cell.textContent).trim();
    const number = text.replace(/[,×µ]/g, "").match(/^[-+−]?\d[\d.]*(e[-+]?\d+)?/);
    return { text, number: number ? parseFloat(number[0].replace("−", "-")) : null };
  };
  const compare = (a, b, sign) => {
    const empty = (it) => it.text === "" || it.text === "-";
    if (empty(a) || empty(b)) return empty(a) - empty(b);
    if (a.number !== null && b.number !== null) return sign * (a.number - b.number);
    return sign * a.text.localeCompare(b.text, undefined, { numeric: true });
  };
  const sort = (table, head, index) => {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const bodies = [...table.tBodies];
    const isCases = table.classList.contains("cases");
    const rows = isCases ? bodies : [...bodies[0].rows];
    const key = new Map(rows.map((row) => [row, value((isCases ? row.rows[0] : row).cells[index])]));
    rows.sort((a, b) => compare(key.get(a), key.get(b), ascending ? 1 : -1));
    (isCases ? table : bodies[0]).append(...rows);
  };
  for (const table of all("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => sort(table, head, index));
    });
  }

  // Filters: all words must be there, and every choice must fit.
  const cases = all("#table tbody.case").map((body) => ({ body, text: body.rows[0].textContent.toLowerCase() }));
  const search = document.getElementById("filter");
  const facets = all("select[data-facet]");
  const filter = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { body, text } of cases) {
      const fits = words.every((word) => text.includes(word)) && facets.every((it) => !it.value || body.dataset[it.dataset.facet] === it.value);
      body.hidden = !fits;
      shown += fits;
    }
    document.getElementById("count").textContent = `${shown} of ${cases.length} cases`;
    document.getElementById("empty").hidden = shown > 0;
  };
  search.addEventListener("input", filter);
  for (const facet of facets) facet.addEventListener("input", filter);

  // A row unfolds by its button, or by a click anywhere on it that selects no text.
  const unfold = (body) => {
    const [row, detail] = body.rows;
    detail.hidden = !detail.hidden;
    row.querySelector(".more").setAttribute("aria-expanded", String(!detail.hidden));
  };
  for (const { body } of cases) {
    body.rows[0].addEventListener("click", () => {
      if (String(getSelection()) === "") unfold(body);
    });
  }
  // A name in the forest plot leads to its unfolded row.
  for (const link of all(".forest th a")) {
    link.addEventListener("click", (event) => {
      const body = document.getElementById(link.hash.slice(1)).closest("tbody");
      event.preventDefault();
      if (body.hidden) return;
      if (body.rows[1].hidden) unfold(body);
      body.scrollIntoView({ block: "center" });
    });
  }
  for (const button of all(".copy")) {
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(button.previousElementSibling);
        button.textContent = "Selected";
      }
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
  }

  // Plots: drawn when they come near, in the colours of the reader's scheme; on paper always in the light ones.
  let printing = false;
  const tone = (it) => {
    if (typeof it === "string") return dark.matches && !printing ? data.tones[it] ?? it : it;
    if (Array.isArray(it)) return it.map(tone);
    return it && typeof it === "object" ? Object.fromEntries(Object.entries(it).map(([key, inner]) => [key, tone(inner)])) : it;
  };
  const config = {
    responsive: true,
    displayModeBar: false,
  };
  const charts = new Map();
  // Paper has its own width, and room for two plots beside each other and two below each other.
  const onPaper = (node, chart) => {
    const single = node.closest(".charts").classList.contains("single");
    return { width: single ? 760 : 495, height: single ? 0.72 * chart.layout.height : 220 };
  };
  const draw = (node) => {
    const chart = charts.get(node);
    const layout = { ...tone(chart.layout), dragmode: coarse.matches ? false : "zoom", ...(printing ? onPaper(node, chart) : {}) };
    node.dataset.drawn = "";
    return Plotly.react(node, tone(chart.data), layout, config);
  };
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        near.unobserve(entry.target);
        draw(entry.target);
      }
    }
  }, { rootMargin: "400px" });
  const figure = (chart) => {
    const [node, caption, title, plot, note] = ["figure", "figcaption", "h3", "div", "p"].map((name) => document.createElement(name));
    title.textContent = chart.title;
    note.textContent = chart.note;
    note.className = "note";
    plot.className = "plot";
    plot.style.minHeight = `${chart.layout.height}px`;
    plot.setAttribute("role", "img");
    plot.setAttribute("aria-label", `${chart.title}. ${chart.note}`);
    caption.append(title);
    node.append(caption, plot, note);
    charts.set(plot, chart);
    near.observe(plot);
    return node;
  };
  const show = (section, index) => {
    const home = document.querySelector(`.charts[data-section="${section}"]`);
    for (const plot of all(".plot", home)) {
      near.unobserve(plot);
      charts.delete(plot);
      if ("drawn" in plot.dataset) Plotly.purge(plot);
    }
    home.replaceChildren(...data.sections[section][index].charts.map(figure));
    for (const part of all(`[data-view="${section}"]`)) part.hidden = part.dataset.index !== String(index);
  };
  for (const [section, views] of Object.entries(data.sections)) {
    if (!views.length) continue;
    show(section, 0);
    const chooser = document.querySelector(`select[data-chooser="${section}"]`);
    chooser?.addEventListener("input", () => show(section, Number(chooser.value)));
  }
  const redraw = () => { for (const node of charts.keys()) if ("drawn" in node.dataset) draw(node); };
  dark.addEventListener("change", redraw);
  addEventListener("beforeprint", () => { printing = true; for (const node of charts.keys()) draw(node); });
  addEventListener("afterprint", () => { printing = false; redraw(); });

  // Where the reader is, in the bar of sections.
  const links = new Map(all(".toc a").map((link) => [link.getAttribute("href").slice(1), link]));
  const here = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = links.get(entry.target.id);
      link?.classList.toggle("here", entry.isIntersecting);
      if (link && entry.isIntersecting) link.parentElement.scrollTo({ left: link.offsetLeft - 24 });
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  for (const section of all("main section")) here.observe(section);
})();
