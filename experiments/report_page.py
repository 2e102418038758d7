"""The page of `tandem report`: charts and pictures, all inside one HTML file without scripts."""

import itertools
import shlex
import time
from importlib import metadata
from typing import Any

import jinja2

from experiments.progress import Steps
from experiments.report_runs import Run
from experiments.report_sections import section, tags_of, task_of
from experiments.report_tables import seeds_table, summary_table


def build(runs: list[Run], notes: list[str]) -> str:
    """The page of one or more runs. notes: what the person should know about them."""
    tasks: dict[tuple[bool, str], list[Run]] = {}
    for run in runs:
        tasks.setdefault((run.generative, task_of(run)), []).append(run)
    notes, drawn = list(notes), itertools.count(1)
    with Steps("drawing", sum(len(tags_of(group)) for group in tasks.values())) as steps:
        sections = [
            section(title, group, notes, lambda: steps.update(next(drawn))) for (_, title), group in tasks.items()
        ]
    names = list(dict.fromkeys(run.preset for run in runs))
    options: Any = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, "undefined": jinja2.StrictUndefined}
    return (
        jinja2.Environment(**options)
        .from_string(TEMPLATE)
        .render(
            title=", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else ""),
            made=f"{len(runs)} run{'s' * (len(runs) > 1)}, reported on {time.strftime('%Y-%m-%d %H:%M %Z')} "
            f"by Tandem {metadata.version('tandem-lab')}",
            notes=notes,
            tables=[summary_table(runs), *seeds_table(runs)],
            sections=sections,
            made_with=[(run.name, *_made_with(run)) for run in runs],
        )
    )


def _made_with(run: Run) -> tuple[str, str]:
    """The command of a run, and its source code and versions."""
    words, versions = run.record.get("command"), run.record.get("versions")
    command = shlex.join(map(str, words)) if isinstance(words, list) else "command unknown"
    found = [f"{name} {version}" for name, version in versions.items()] if isinstance(versions, dict) else []
    return command, ", ".join([f"source code at {run.record.get('git_sha', 'an unknown commit')}", *found])


TEMPLATE = """<!doctype html>
{% macro text(words) %}
<div{% if words|length <= 42 %} class="short"{% endif %}>
{%- for part in words.split('`') -%}
{% if loop.index0 % 2 %}<code>{{ part }}</code>{% else %}{{ part }}{% endif %}
{%- endfor %}</div>
{% endmacro %}
{% macro table(title, head, rows, kind="cards") %}
<h3>{{ title }}</h3>
<div class="scroll"><table class="{{ kind }}">
<thead><tr>{% for name in head %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows %}
<tr>
{% for cell in row %}
<td data-name="{{ head[loop.index0] }}"><div>
{% if cell is string %}{{ text(cell) }}{% else %}{{ text(cell[0]) }}<small>{{ text(cell[1]) }}</small>{% endif %}
</div></td>
{% endfor %}
</tr>
{% endfor %}
</tbody></table></div>
{% endmacro %}
{% macro charts(items) %}
<div class="charts">
{% for item in items %}
<figure><figcaption>{{ item.title }}</figcaption><img src="{{ item.uri }}" alt="{{ item.alt }}"></figure>
{% endfor %}
</div>
{% endmacro %}
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}: report</title>
<style>
:root { color-scheme: light; --line: #d5dae1; --grey: #4c5663; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 84rem; background: #fff; color: #16191d;
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .75rem; padding-top: .9rem; border-top: 2px solid #16191d; }
h3, summary { font-size: 1.05rem; font-weight: 700; line-height: 1.4; margin: 1.75rem 0 .5rem; }
p { margin: .4rem 0; max-width: 60rem; }
small, .quiet { display: block; color: var(--grey); font-size: .85rem; }
nav a { margin-right: 1.25rem; color: #004f7c; }
code, pre { font: .85rem/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; white-space: pre-wrap; }
.notes { background: #fff6dc; border-left: 4px solid #c98a00; padding: .5rem 1rem .5rem 2rem; margin: 1rem 0; }
.scroll { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; overflow-wrap: break-word; }
th, td { text-align: left; vertical-align: top; padding: .45rem 1.1rem .45rem 0; border-bottom: 1px solid var(--line); }
th { color: var(--grey); font-weight: 600; border-bottom-color: #16191d; }
th, .short { white-space: nowrap; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.25rem; }
.media { display: flex; flex-wrap: wrap; gap: 1.25rem; align-items: flex-start; }
figure, tr { margin: .5rem 0 0; break-inside: avoid; }
figcaption { font-weight: 600; font-size: .92rem; margin-bottom: .25rem; }
img { display: block; max-width: 100%; height: auto; }
.charts img { width: 100%; }
@media (max-width: 44rem) {
  body { padding: 1rem .9rem 2rem; }
  .cards thead { display: none; }
  .cards, .cards tbody, .cards tr { display: block; }
  .cards tr { border: 1px solid var(--line); border-radius: .4rem; padding: .4rem .75rem; margin-bottom: .75rem; }
  .cards td { display: grid; grid-template-columns: 7.5rem 1fr; gap: .75rem; border: 0; padding: .2rem 0; }
  .cards td::before { content: attr(data-name); color: var(--grey); font-size: .85rem; }
  .cards .short { white-space: normal; }
}
@media print {
  body { padding: 0; font-size: 10pt; }
  nav, details:not([open]) { display: none; }
  h2, h3, summary { break-after: avoid; }
  .charts { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  .short { white-space: normal; }
}
</style>
</head>
<body>
<header>
<h1>{{ title }}</h1>
<p class="quiet">{{ made }}</p>
<nav>
{% for part in sections %}
<a href="#task-{{ loop.index }}">{{ part.title }}</a>
{% endfor %}
<a href="#made-with">Commands and versions</a>
</nav>
</header>
<main>
{% if notes %}
<ul class="notes">{% for note in notes %}<li>{{ note }}</li>{% endfor %}</ul>
{% endif %}
{% for title, head, rows in tables %}
{{ table(title, head, rows) }}
{% endfor %}
{% for part in sections %}
<section>
<h2 id="task-{{ loop.index }}">{{ part.title }}</h2>
{% for title, head, rows in part.tables %}
{{ table(title, head, rows) }}
{% endfor %}
{% if part.bits %}
<h3>Bits per dimension</h3>
{{ charts(part.bits) }}
{% endif %}
{% for block in part.curves %}
<details{% if block.open %} open{% endif %}>
<summary>{{ block.heading }} curves</summary>
{{ charts(block.charts) }}
</details>
{% endfor %}
<p class="quiet">{{ part.legend }}</p>
{% for name, pictures, open in part.media %}
<details{% if open %} open{% endif %}>
<summary>Pictures of {{ name }}</summary>
<div class="media">
{% for item in pictures %}
<figure><figcaption>{{ item.title }}</figcaption>
<img width="{{ item.width }}" height="{{ item.height }}" src="{{ item.uri }}" alt="{{ item.title }}"></figure>
{% endfor %}
</div>
</details>
{% endfor %}
{% for title, head, rows in part.differences %}
{{ table(title, head, rows, "plain") }}
{% endfor %}
{% for name, text in part.configs %}
<details><summary>Full configuration of {{ name }}</summary><pre>{{ text }}</pre></details>
{% endfor %}
</section>
{% endfor %}
<section>
<h2 id="made-with">Commands and versions</h2>
{% for run, command, versions in made_with %}
<h3>{{ run }}</h3>
<p><code>{{ command }}</code></p>
<p class="quiet">{{ versions }}</p>
{% endfor %}
</section>
</main>
</body>
</html>
"""
