// The report's style sheet and its few lines of script.
#pragma once

namespace ddpmts::eval {

// Blue (good) and orange (defective) after Okabe & Ito's palette, told apart by every common kind of colour
// blindness; verdicts are also always written out.
inline constexpr const char* report_style = R"css(
:root{--ink:#1b1f24;--soft:#57606a;--paper:#fff;--card:#f6f8fa;--line:#d0d7de;--good:#0072b2;--bad:#c45500;
--bad-fill:#e69f00;--plain:#7d8590;--threshold:#1b1f24}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#9da7b1;--paper:#0d1117;--card:#161b22;--line:#30363d;
--good:#56b4e9;--bad:#f0a030;--bad-fill:#e69f00;--plain:#8b949e;--threshold:#e6edf3}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,
"DejaVu Sans",sans-serif}
main{max-width:1200px;margin:0 auto;padding:24px 20px 60px}
h1{font-size:1.7rem;line-height:1.2;margin:0}
h2{font-size:1.2rem;margin:40px 0 12px}
.soft,.subtitle{color:var(--soft)}
.subtitle{margin:4px 0 0;overflow-wrap:anywhere}
.lead{font-size:1.15rem;margin:20px 0 6px}
.lead b.good{color:var(--good)}.lead b.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin-top:20px}
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:12px 14px}
.tile .value{font-size:1.6rem;font-weight:650;line-height:1.2;font-variant-numeric:tabular-nums}
.tile .name{font-weight:600;font-size:.9rem}
.tile .what{color:var(--soft);font-size:.82rem;line-height:1.35;margin-top:4px}
.charts{display:grid;grid-template-columns:3fr 2fr;gap:16px;align-items:stretch}
.charts.one{grid-template-columns:minmax(0,760px)}
.panel{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px;min-width:0}
.panel h2{margin:0 0 8px;font-size:1rem}
.panel p{margin:8px 0 0;font-size:.85rem;color:var(--soft)}
svg{display:block;width:100%;height:auto;margin:0 auto;font:12px system-ui,"DejaVu Sans",sans-serif}
.roc svg{max-width:400px}
a{color:var(--good)}
svg text{fill:var(--ink)}svg text.faint{fill:var(--soft)}
svg text.good{fill:var(--good);font-weight:600}svg text.bad{fill:var(--bad);font-weight:600}
svg text.plain{fill:var(--soft);font-weight:600}
rect.good{fill:var(--good)}rect.bad{fill:var(--bad-fill)}rect.plain{fill:var(--plain)}
line.axis{stroke:var(--soft)}line.grid{stroke:var(--line)}
line.threshold{stroke:var(--threshold);stroke-width:1.5;stroke-dasharray:5 4}
line.chance{stroke:var(--soft);stroke-dasharray:3 4}
polyline.curve{fill:none;stroke:var(--good);stroke-width:2.5;stroke-linejoin:round}
circle.working{fill:var(--bad-fill);stroke:var(--paper);stroke-width:2}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{padding:7px 12px 7px 0;text-align:left;border-bottom:1px solid var(--line)}
th{font-size:.85rem;color:var(--soft);font-weight:600}
td.number,th.number{text-align:right}
td.name{overflow-wrap:anywhere;min-width:110px}
.bar{display:inline-block;width:120px;height:9px;border:1px solid var(--line);border-radius:5px;overflow:hidden;
background:var(--paper);vertical-align:middle}
.bar i{display:block;height:100%}.bar i.good{background:var(--good)}.bar i.plain{background:var(--plain)}.bar i.bad{background:var(--bad-fill)}
.tools{display:flex;flex-wrap:wrap;gap:8px;align-items:center;margin-bottom:14px}
.tools button,.tools input[type=search]{font:inherit;font-size:.9rem;padding:6px 12px;border:1px solid var(--line);
border-radius:16px;background:var(--card);color:var(--ink)}
.tools button{cursor:pointer}
.tools button[aria-pressed=true]{background:var(--ink);color:var(--paper);border-color:var(--ink)}
.tools input[type=search]{flex:1 1 160px;max-width:280px}
.tools label{font-size:.9rem;white-space:nowrap}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(330px,1fr));gap:16px}
.card{background:var(--card);border:1px solid var(--line);border-radius:8px;overflow:hidden;margin:0;min-width:0}
.card[hidden]{display:none}
.card.wrong{border-color:var(--bad);box-shadow:inset 0 3px 0 var(--bad)}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:2px;padding-top:3px}
.pair.single{grid-template-columns:1fr}
.shot{position:relative;background:var(--line)}
.shot img{display:block;width:100%;height:auto;image-rendering:auto}
.shot img.outline{position:absolute;inset:0;height:100%}
.no-outline .shot img.outline{display:none}
.card figcaption{overflow-wrap:anywhere;padding:10px 12px 12px;font-size:.88rem}
.card .verdict{font-weight:650}
.card .verdict.bad{color:var(--bad)}.card .verdict.good{color:var(--good)}
.card .path{overflow-wrap:anywhere;color:var(--soft);font-size:.8rem;margin-top:2px}
.card .score{float:right;font-variant-numeric:tabular-nums}
.scale{display:inline-block;position:relative;width:64px;height:9px;border:1px solid var(--line);border-radius:5px;
background:var(--paper);overflow:hidden;vertical-align:middle}
.scale i{display:block;height:100%}.scale i.good{background:var(--good)}.scale i.bad{background:var(--bad-fill)}
.scale:after{content:"";position:absolute;left:50%;top:0;height:100%;border-left:2px solid var(--threshold)}
.errors td{vertical-align:top;overflow-wrap:anywhere}
footer{margin-top:48px;color:var(--soft);font-size:.85rem;border-top:1px solid var(--line);padding-top:12px}
@media(max-width:760px){main{padding:18px 14px 40px}.charts{grid-template-columns:minmax(0,1fr)}
.tiles{grid-template-columns:1fr 1fr}
.tile:last-child:nth-child(odd){grid-column:1/-1}.histogram svg text{font-size:16px}
.gallery{grid-template-columns:minmax(0,1fr)}.bar{width:56px}
th,td{padding-right:8px;font-size:.88rem}h1{font-size:1.4rem}.lead{font-size:1.05rem}}
@media print{.tools{display:none}.card,.tile,.panel{break-inside:avoid}}
)css";

inline constexpr const char* report_script = R"js(
(function(){
var kind="all",cards=[].slice.call(document.querySelectorAll(".card")),
buttons=[].slice.call(document.querySelectorAll("[data-show]")),search=document.getElementById("search"),
none=document.getElementById("none"),outline=document.getElementById("outline");
function show(){var text=search.value.toLowerCase(),shown=0;
cards.forEach(function(c){var on=(kind==="all"||c.dataset.kind===kind)&&c.dataset.text.toLowerCase().indexOf(text)>=0;
c.hidden=!on;shown+=on?1:0;});none.hidden=shown>0;
buttons.forEach(function(b){b.setAttribute("aria-pressed",b.dataset.show===kind?"true":"false");});}
buttons.forEach(function(b){b.addEventListener("click",function(){kind=b.dataset.show;show();});});
search.addEventListener("input",show);
if(outline)outline.addEventListener("change",function(){
document.querySelector(".gallery").classList.toggle("no-outline",!outline.checked);});
})();
)js";

}  // namespace ddpmts::eval
