"""The page of `tandem play`: the picture in the middle, who plays above it, the state and the controls below."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>tandem play</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: dark; }
  * { box-sizing: border-box; }
  body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; align-items: center;
         justify-content: center; gap: 14px; padding: 20px; background: #15181c; color: #d7dce1;
         font: 15px/1.4 system-ui, sans-serif; }
  main { display: flex; flex-direction: column; gap: 12px; width: min(100%, 960px, 124vh); }
  header { display: flex; justify-content: space-between; align-items: baseline; gap: 16px; }
  h1 { margin: 0; font-size: 17px; font-weight: 600; overflow-wrap: anywhere; }
  h1 i { display: inline-block; width: 11px; height: 11px; border-radius: 50%; margin-right: 7px; }
  #left i { background: #face34; } #right i { background: #3e76e2; } #right { text-align: right; }
  #picture { display: block; width: 100%; border-radius: 6px; background: #0d0f12; }
  footer { display: flex; justify-content: space-between; align-items: center; gap: 16px; flex-wrap: wrap; }
  #state, #last { color: #98a2ad; font-variant-numeric: tabular-nums; }
  #last { min-height: 1.4em; font-size: 13px; }
  button { font: inherit; font-size: 14px; color: #d7dce1; background: #262b31; border: 1px solid #3a424b;
           border-radius: 5px; padding: 5px 13px; margin-left: 6px; cursor: pointer; }
  button:hover { background: #30363e; }
  button[aria-pressed="true"] { background: #3b4652; border-color: #5a6876; }
  button:focus-visible { outline: 2px solid #7fa8d8; }
</style>
</head>
<body>
<main>
  <header><h1 id="left"></h1><h1 id="right"></h1></header>
  <img id="picture" src="/stream" alt="the match">
  <footer>
    <div id="state"></div>
    <div>
      <button id="pause" title="space">Pause</button>
      <button id="attention" title="a">Attention</button>
      <button id="next" title="n">Next episode</button>
    </div>
  </footer>
  <div id="last"></div>
</main>
<script>
const at = id => document.getElementById(id);
const name = (id, text, dot) => {
  at(id).textContent = text;
  if (dot && text) at(id).prepend(document.createElement("i"));
};
const ask = what => fetch("/" + what, {method: "POST"}).then(refresh, () => {});
async function refresh() {
  let facts;
  try { facts = await (await fetch("/facts")).json(); }
  catch { at("state").textContent = "the match is over"; return; }
  name("left", facts.left || "", facts.right); name("right", facts.right || "", true);
  document.title = (facts.score ? facts.score + " · " : "") + "tandem play";
  at("state").textContent = facts.state || "";
  at("last").textContent = facts.last || "";
  at("pause").textContent = facts.paused ? "Go on" : "Pause";
  at("attention").setAttribute("aria-pressed", String(facts.attention));
  at("attention").hidden = !facts.attends;
}
for (const what of ["pause", "attention", "next"]) at(what).onclick = () => ask(what);
document.addEventListener("keydown", event => {
  const what = {" ": "pause", a: "attention", n: "next"}[event.key];
  if (what) { event.preventDefault(); ask(what); }
});
refresh();
setInterval(refresh, 300);
</script>
</body>
</html>
"""
