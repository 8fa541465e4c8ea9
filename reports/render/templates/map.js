(() => {
  const rows = (s) => (s ? s.split(" ").map((row) => row.split(",").map(Number)) : []);
  const made = (name, text, own) => {
    const e = document.createElement(name);
    e.textContent = text;
    if (own) e.className = own;
    return e;
  };
  const drawn = (name, with_) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(with_)) e.setAttribute(key, value);
    return e;
  };
  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const figure of document.querySelectorAll("figure.map")) {
    const [pick, hint, said, keys] = ["form", ".hint", ".said", ".keys"].map((s) => figure.querySelector(s));
    const data = JSON.parse(figure.querySelector("script").textContent);
    const colours = data.colours.map((c) => ({ ...c, values: rows(c.values).flat() }));
    const planes = [...figure.querySelectorAll(".plane")].map((e, i) => {
      const svg = e.querySelector("svg");
      const marks = drawn("g", { class: "marks" });
      svg.append(marks);
      const { maps, near, cosines } = data.panels[i];
      return { svg, marks, maps, list: e.querySelector("ol"), near: rows(near), cosines: rows(cosines) };
    });
    const last = data.texts.length - 1;
    let at = data.start;
    let only = -1;

    const mark = () => {
      const near = planes.map((p) => (p.near[at] ?? []).filter((i) => i >= 0));
      for (const [k, p] of planes.entries()) {
        const point = (i) => p.points[i].join(" ");
        const ring = (i, r) => drawn("circle", { cx: p.points[i][0], cy: p.points[i][1], r });
        const path = near[k].map((i) => `M${point(at)}L${point(i)}`).join("");
        const rings = near[k].map((i) => ring(i, 12));
        p.marks.replaceChildren(...(at < 0 ? [] : [drawn("path", { d: path }), ...rings, ring(at, 18)]));
        p.list.replaceChildren(
          ...near[k].map((i, n) => {
            const both = planes.length > 1 && near.every((others) => others.includes(i));
            const item = made("li", "", both ? "both" : "");
            item.append(made("bdi", data.texts[i]), " ", made("small", (p.cosines[at][n] / 100).toFixed(2) + (both ? ", in each" : "")));
            return item;
          }),
        );
      }
      if (at < 0) return said.replaceChildren();
      const about = colours.map((c) => `${c.name}: ${c.names[c.values[at]]}`).join(" · ");
      said.replaceChildren(made("bdi", data.texts[at]), made("small", about));
    };
    const select = (i) => {
      if (i !== at) {
        at = i;
        mark();
      }
    };
    const draw = () => {
      const c = colours[pick.colour.selectedIndex];
      keys.replaceChildren(
        ...c.names.map((name, k) => {
          const [item, b] = [made("li", "", c.tones[k]), made("button", "")];
          b.type = "button";
          b.append(made("bdi", name));
          b.ariaPressed = only === k;
          b.onclick = () => {
            only = only === k ? -1 : k;
            draw();
            keys.children[k].firstChild.focus();
          };
          item.append(b);
          return item;
        }),
      );
      for (const p of planes) {
        p.points = rows(p.maps[pick.kind.value]);
        const paths = c.names.map(() => "");
        p.points.forEach(([x, y], i) => (paths[c.values[i]] += `M${x},${y}h0`));
        p.svg.querySelector(".dots").replaceChildren(
          ...paths.map((d, k) => drawn("path", { d, class: c.tones[k] + (only >= 0 && only !== k ? " dim" : "") })),
        );
      }
      mark();
    };
    pick.onchange = () => {
      only = -1;
      draw();
    };
    for (const [k, p] of planes.entries()) {
      const nearest = (x, y, far) => {
        let [best, found] = [Infinity, -1];
        p.points.forEach(([a, b], i) => {
          const d = far(a - x, b - y, i);
          if (d < best) [best, found] = [d, i];
        });
        return found;
      };
      p.svg.onpointermove = p.svg.onpointerdown = ({ clientX, clientY }) => {
        const box = p.svg.getBoundingClientRect();
        const scale = 1000 / box.width;
        const reach = Math.max(30, 22 * scale);
        const i = nearest((clientX - box.left) * scale, (clientY - box.top) * scale, (x, y) => {
          const d = Math.hypot(x, y);
          return d < reach ? d : NaN;
        });
        if (i >= 0) select(i);
      };
      p.svg.onfocus = () => at < 0 && p.svg.matches(":focus-visible") && select(0);
      p.svg.onkeydown = (event) => {
        const step = STEPS[event.key];
        let to = { Home: 0, End: last, PageUp: Math.max(at - 1, 0), PageDown: Math.min(at + 1, last), Escape: -1 }[event.key];
        if (step && at >= 0) {
          to = nearest(...p.points[at], (x, y, i) => {
            const along = x * step[0] + y * step[1];
            const across = Math.abs(x * step[1]) + Math.abs(y * step[0]);
            return i !== at && along > 0 && across <= along ? along + across : NaN;
          });
          if (to < 0) to = at;
        }
        if (to === undefined) return;
        event.preventDefault();
        select(to);
        if (to < 0) p.svg.blur();
      };
      p.svg.setAttribute("role", "application");
      p.svg.setAttribute("tabindex", 0);
      p.svg.setAttribute("aria-label", `Map ${k + 1} of ${planes.length}: ${data.panels[k].title}. ${hint.textContent}`);
    }
    for (const e of [pick, hint, said, ...planes.filter((p) => p.near.length).map((p) => p.list)]) e.hidden = false;
    draw();
  }
})();
