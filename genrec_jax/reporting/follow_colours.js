// Plotly's pictures take their colours from the page, light or dark.
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const paint = () => {
    const page = getComputedStyle(document.documentElement);
    const ink = page.getPropertyValue('--ink').trim();
    const soft = page.getPropertyValue('--soft').trim();
    const line = page.getPropertyValue('--line').trim();
    for (const plot of document.querySelectorAll('.js-plotly-plot')) {
      const change = {
        paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)', 'font.color': ink,
        'modebar.bgcolor': 'rgba(0,0,0,0)', 'modebar.color': soft, 'modebar.activecolor': ink,
      };
      for (const name of Object.keys(plot._fullLayout).filter((name) => /^[xy]axis\d*$/.test(name))) {
        change[name + '.color'] = ink;
        change[name + '.gridcolor'] = line;
        change[name + '.linecolor'] = line;
        change[name + '.tickcolor'] = line;
      }
      Plotly.relayout(plot, change);
    }
  };
  addEventListener('load', paint);
  dark.addEventListener('change', paint);
})();
