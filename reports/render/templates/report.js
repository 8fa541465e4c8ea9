(() => {
  const all = (s, e = document) => [...e.querySelectorAll(s)];
  const button = (...inside) => {
    const b = document.createElement("button");
    b.type = "button";
    b.append(...inside);
    return b;
  };
  for (const t of all("table.sortable"))
    all("thead th", t).forEach((head, i) => {
      if (!head.textContent.trim()) return;
      const b = button(...head.childNodes);
      head.append(b);
      b.onclick = () => {
        const up = head.ariaSort !== "ascending";
        for (const h of all("thead th", t)) h.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (r) => r.cells[i].dataset.v ?? r.cells[i].textContent;
        const compare = (x, y) =>
          isNaN(x) || isNaN(y) ? x.localeCompare(y, "en", { numeric: true }) : x - y;
        const rows = [...t.tBodies[0].rows].sort((x, y) => compare(key(x), key(y)));
        t.tBodies[0].append(...(up ? rows : rows.reverse()));
      };
    });
  const open = () => {
    const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!at) return;
    for (let e = at; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
    at.scrollIntoView();
  };
  addEventListener("hashchange", open);
  open();
  const links = all(".toc a");
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries)
        if (isIntersecting)
          for (const a of links)
            a.hash === "#" + target.id
              ? a.setAttribute("aria-current", "true")
              : a.removeAttribute("aria-current");
    },
    { rootMargin: "-15% 0px -80%" },
  );
  for (const s of all("main > section")) seen.observe(s);
  const bar = document.querySelector(".selectors");
  bar.hidden = !bar.children.length;
  bar.onchange = ({ target: { value, dataset: { axis } } }) => {
    for (const e of all(`[data-${axis}]:not(select)`)) {
      e.hidden = value && e.dataset[axis] !== value;
      if (e.tagName === "DETAILS" && value) e.open = !e.hidden;
    }
  };
  for (const c of all(".code")) {
    const b = button("Copy");
    b.className = "copy";
    c.append(b);
    b.onclick = async () => {
      const text = c.querySelector("code");
      try {
        await navigator.clipboard.writeText(text.textContent);
        b.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(text);
      }
    };
  }
})();
