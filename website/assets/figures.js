// Draws the figures of a notebook's page from the data that stand in it.
for (const place of document.querySelectorAll(".figure")) {
  const { data, layout, config } = JSON.parse(place.querySelector("script").textContent);
  place.style.height = `${layout.height || 450}px`;
  Plotly.newPlot(place, data, layout, config);
}
