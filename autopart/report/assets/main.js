// Everything, in the order of the page.

const data = decode(JSON.parse(document.getElementById('data').textContent));
const view = makeView(data.ticks, data.used.length <= 16);
drawHead(data);
drawCluster(view, data);
drawBaselines(data);
timelineNote(data);
drawLegend(view);
drawTimeline(view, data);
drawMemory(view, data);
drawStages(data);
drawTraffic(data);
drawOps(data);
requestAnimationFrame(() =>
  requestAnimationFrame(() => {
    document.body.dataset.ready = performance.now().toFixed(0);
  }),
);
