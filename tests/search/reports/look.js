// Evaluates to what is wrong with how a page looks in its window, a line each: nothing, for a good page.
(() => {
  const problems = [];
  const named = (element) => `<${element.tagName.toLowerCase()}> ${element.textContent.trim().slice(0, 40)}`;
  for (const details of document.querySelectorAll("details")) details.open = true;

  // Nothing is wider than the window; tables may be, where they scroll by themselves.
  const root = document.documentElement;
  if (root.scrollWidth > root.clientWidth) {
    const wide = [...document.body.querySelectorAll("*")].filter(
      (element) => element.getBoundingClientRect().right > root.clientWidth + 1 && !element.closest(".wide"),
    );
    problems.push(`overflow: ${root.scrollWidth} of ${root.clientWidth} pixels, ${wide.slice(-1).map(named)}`);
  }

  // Red, green, blue from 0 to 255 and opacity.
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parsed = new Map();
  const rgba = (colour) => {
    if (!parsed.has(colour)) {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = colour;
      canvas.fillRect(0, 0, 1, 1);
      const [red, green, blue, alpha] = canvas.getImageData(0, 0, 1, 1).data;
      parsed.set(colour, [red, green, blue, alpha / 255]);
    }
    return parsed.get(colour);
  };
  const over = (above, below) => [0, 1, 2].map((i) => above[i] * above[3] + below[i] * (1 - above[3]));
  const background = (element) => {
    const below = element.parentElement ? background(element.parentElement) : [255, 255, 255];
    return over(rgba(getComputedStyle(element).backgroundColor), below);
  };
  const luminance = (colour) => {
    const [red, green, blue] = colour.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const contrast = (above, below) => {
    const [high, low] = [luminance(over(above, below)), luminance(below)].sort((one, other) => other - one);
    return (high + 0.05) / (low + 0.05);
  };

  // All text can be read: the contrast that WCAG 2.1 asks of small text.
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.getClientRects().length || element.closest("style, script")) continue;
    const style = getComputedStyle(element);
    const ratio = contrast(rgba(element.closest("svg") ? style.fill : style.color), background(element));
    if (ratio < 4.5) problems.push(`faint text: ${ratio.toFixed(2)}, ${named(element)}`);
  }

  for (const svg of document.querySelectorAll("svg")) {
    // Every line and point can be seen: the contrast that WCAG 2.1 asks of graphics. Bands are translucent on purpose.
    for (const mark of svg.querySelectorAll("path, use, rect, line")) {
      if (mark.closest("defs, clipPath")) continue;
      const style = getComputedStyle(mark);
      const opacity = Math.min(style.opacity, style.strokeOpacity, style.fillOpacity);
      const colours = [style.fill, style.stroke].filter((colour) => colour !== "none");
      if (!colours.length || opacity < 0.5) continue;
      const ratio = Math.max(...colours.map((colour) => contrast(rgba(colour), background(svg))));
      if (ratio < 3) problems.push(`faint mark: ${ratio.toFixed(2)}, ${colours}`);
    }
    // No letter is cut off at the picture's edge, or stands on another.
    const frame = svg.getBoundingClientRect();
    const placed = [];
    for (const text of svg.querySelectorAll("text")) {
      const box = text.getBoundingClientRect();
      for (const [other, name] of placed) {
        const across = Math.min(box.right, other.right) - Math.max(box.left, other.left);
        const down = Math.min(box.bottom, other.bottom) - Math.max(box.top, other.top);
        if (across > 2 && down > 2) problems.push(`one on another: ${named(text)} and ${name}`);
      }
      placed.push([box, named(text)]);
      const inside = box.left > frame.left - 1 && box.right < frame.right + 1 && box.top > frame.top - 1;
      if (!inside || box.bottom > frame.bottom + 1) problems.push(`cut off: ${named(text)}`);
    }
  }

  // Every picture stands in a figure with its numbers.
  for (const picture of document.querySelectorAll("svg, img, canvas")) {
    const cells = picture.closest("figure")?.querySelectorAll("table td") ?? [];
    if (![...cells].some((cell) => /\d/.test(cell.textContent))) problems.push("no numbers beneath a figure");
  }
  return problems;
})();
