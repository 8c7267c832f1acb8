// What tests of the page look at.
(() => {
  const rgb = (color) => color.match(/[\d.]+/g).map(Number);

  // luminance and contrast are those of WCAG 2.2.
  const luminance = (color) => rgb(color).slice(0, 3)
    .map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);

  function contrast(a, b) {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  }

  // ground is what an element's text stands on.
  function ground(element) {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if ((rgb(color)[3] ?? 1) > 0) return color;
    }
    return 'rgb(255, 255, 255)';
  }

  // faint lists the texts that can be seen under root with less contrast than 4.5.
  window.faint = (root) => {
    const all = [];
    const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    let seen = 0;
    while (texts.nextNode()) {
      const element = texts.currentNode.parentElement;
      if (!texts.currentNode.data.trim() || !element.checkVisibility({ visibilityProperty: true }) || element.closest('noscript, style')) continue;
      seen++;
      const ratio = contrast(getComputedStyle(element).color, ground(element));
      if (!(ratio >= 4.5)) all.push(`${ratio.toFixed(2)}: ${texts.currentNode.data.trim()}`);
    }
    return seen === 0 ? ['there is no text'] : all;
  };

  // cards are what those of a side say.
  window.cards = (side) => [...document.querySelectorAll(`#${side} .card`)].map((card) => card.innerText.replaceAll(/\s+/g, ' '));

  // lines are those of the picture: how far each is to be believed, how it is drawn,
  // and whether it begins or ends at the card of its peer.
  window.lines = () => [...document.querySelectorAll('#lines .edge')].map((edge) => {
    const shaft = edge.querySelector('.shaft');
    const frame = document.getElementById('lines').getBoundingClientRect();
    const card = document.querySelector(`li[data-key=${JSON.stringify(edge.dataset.key)}]`).getBoundingClientRect();
    const ends = [shaft.getPointAtLength(0), shaft.getPointAtLength(shaft.getTotalLength())];
    const touches = ends.some(({ x, y }) => x + frame.left >= card.left - 14 && x + frame.left <= card.right + 14 && y + frame.top >= card.top && y + frame.top <= card.bottom);
    const { strokeDasharray, stroke } = getComputedStyle(shaft);
    return { provenance: edge.dataset.provenance, dashes: strokeDasharray, color: stroke, touches };
  });

  // conceal has the page believe that nobody sees it, or that somebody does.
  window.conceal = (hidden) => {
    Object.defineProperty(document, 'hidden', { configurable: true, get: () => hidden });
    document.dispatchEvent(new Event('visibilitychange'));
  };
})();
