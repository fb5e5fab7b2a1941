import { deepEqual, doesNotMatch, equal, match, ok } from "node:assert/strict";
import type { Status } from "../../../lib/domain/status.ts";
import { Denied } from "../../../lib/relay/pages/page.tsx";
import { Portal } from "../../../lib/relay/pages/portal.tsx";
import { findingsOf } from "../../../lib/relay/pages/status/attention.ts";
import { StatusPage } from "../../../lib/relay/pages/status/status_page.tsx";
import type { StatusModel } from "../../../lib/relay/pages/status/model.ts";
import { agentOf, clusterOf, modelOf, nowMs, pictureOf } from "./picture.ts";

function render(model: StatusModel): string {
  return String(<StatusPage {...model} />);
}

/** The ids of the clusters that the page lists, in order. */
function clustersOf(html: string): string[] {
  const [, list = ""] = /<section id="clusters"([\s\S]*?)<\/section>/.exec(html) ?? [];
  return [...list.matchAll(/role="rowheader"><bdi>([^<]*)</g)].map(([, id = ""]) => id);
}

/** The same with a text in the place of every other. */
function everywhere<Value>(value: Value, text: string, kept: readonly string[]): Value {
  if (typeof value === "string") return (kept.includes(value) ? value : text) as Value;
  if (Array.isArray(value)) return value.map((item) => everywhere(item, text, kept)) as Value;
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, everywhere(item, text, kept)]),
  ) as Value;
}

/** What the page compares, and does not show as it is. */
const words = ["configuration", "api", "refuse", "http", "public", "refused", "connected"];

const hostile = [
  '<script>alert("x")</script>',
  `"><img src=x onerror='alert(1)'>`,
  "</title></style></table><h1>Signed out</h1>",
  "javascript:alert(1)",
  "&lt;b&gt;",
];

Deno.test("markup in names, reasons and paths is text on the pages", () => {
  for (const text of hostile) {
    const html = [
      render(everywhere(modelOf(undefined, {}, { history: [] }), text, words)),
      String(
        <Denied
          {...{ username: text, provider: text, service: text, missing: [text], requestId: text }}
          tellsGroups
          switchUrl="/"
        />,
      ),
    ].join("");
    doesNotMatch(html, /<script|<img|<h1|<\/title|<\/style/i, text);
    doesNotMatch(html, /href="javascript:/i, text);
    doesNotMatch(html, /<[^>]+ on[a-z]+=['"]?alert/i, text);
  }
});

Deno.test("characters that can't be seen, or turn the direction of writing, are shown by number", () => {
  const marks = "\u202e\u2066\u200b\u0000\u001b[31m\u2028\ufeff\ud800\u00a0";
  const html = render(everywhere(modelOf(), `a${marks}b`, words));
  match(html, /a\\u\{202E\}\\u\{2066\}\\u\{200B\}\\u\{0\}\\u\{1B\}\[31m\\u\{2028\}/);
  const shown = html.replaceAll(/ (?:href|value|id)="[^"]*"/g, "");
  for (const mark of "\u202e\u2066\u200b\0\u001b\u2028\ufeff\u00a0") ok(!shown.includes(mark));
});

Deno.test("an endless name does not make an endless page", () => {
  const html = render(everywhere(modelOf(), "x".repeat(100_000), words));
  const shown = html.replaceAll(/ (?:href|value|id)="[^"]*"/g, "");
  ok(!/x{1001}/.test(shown));
});

Deno.test("of ten thousand clusters the page has fifty, and the URL says which", () => {
  const clusters = Array.from({ length: 10_000 }, (_, index) => {
    const id = `cluster-${String(index).padStart(5, "0")}`;
    return clusterOf(id, [agentOf(id, { openStreams: index })]);
  });
  const listed = (query: Partial<StatusModel["query"]>) =>
    clustersOf(render(modelOf(pictureOf({ clusters }), query)));
  equal(listed({}).length, 50);
  equal(listed({})[0], "cluster-00000");
  equal(listed({ page: 200 }).at(-1), "cluster-09999");
  deepEqual(listed({ query: "CLUSTER-04242" }), ["cluster-04242"]);
  equal(listed({ sort: "-streams" })[0], "cluster-09999");
  equal(listed({ sort: "no such column" })[0], "cluster-00000");
  equal(listed({ sort: "constructor" })[0], "cluster-00000");
  equal(listed({ section: "clusters", page: 2 })[0], "cluster-00100");
});

Deno.test("a cluster of very many agents shows some, and links to all", () => {
  const agents = Array.from({ length: 30 }, (_, slot) => agentOf("big", { slot, id: `a-${slot}` }));
  const clusters = [clusterOf("big", agents), clusterOf("small")];
  const html = render(modelOf(pictureOf({ clusters })));
  equal(clustersOf(html).filter((id) => id === "big").length, 8);
  match(html, /href="\/status\/clusters\?q=big">\s*22 more/);
  const alone = render(modelOf(pictureOf({ clusters }), { section: "clusters", query: "big" }));
  equal(clustersOf(alone).length, 30);
});

Deno.test("the page says what needs attention, faults first", () => {
  const texts = (more: Partial<Status>) => findingsOf(pictureOf(more)).map(({ text }) => text);
  const expected = [
    'The last change of services was refused, the one before is in force: there is no policy "stuff"',
    "The certificate of tls-cert expires in 9 days",
    "No agent is connected for cluster staging",
    "Open to everybody: service www",
    "The limit max-requests-per-second was hit 6 min ago",
  ];
  deepEqual(texts({}), expected);
  const [relay] = pictureOf().relays;
  deepEqual(
    texts({
      ...{ clusters: [], services: [], certificates: [], reloads: [], limitHits: [] },
      relays: [{ ...relay!, fault: "timed out" }, { ...relay!, isDirectoryUp: false }],
    }),
    ["Relay 7f3a1b2c does not answer: timed out", "Relay 7f3a1b2c cannot reach the directory"],
  );
  const quiet = { clusters: [], services: [], certificates: [], reloads: [], limitHits: [] };
  match(render(modelOf(pictureOf(quiet))), /Nothing needs attention/);
});

Deno.test("who may not see people's sessions gets none of them, nor who has signed in", () => {
  const html = render(modelOf(pictureOf({ streams: [], requests: [] }), {}, { people: undefined }));
  doesNotMatch(html, /ann@example|People/);
});

Deno.test("who may not end things gets no buttons for it", () => {
  doesNotMatch(render(modelOf(undefined, {}, { mayAct: false })), /class="act"|\/status\/end/);
});

Deno.test("the portal's texts are text", () => {
  for (const text of hostile) {
    const services = {
      items: [{
        ...{ name: text, kind: "tcp" as const, hosts: [text], command: text },
        connection: "connected" as const,
      }],
      ...{ query: text, found: 1, all: 20, page: 1, pages: 1 },
    };
    const sessions = [{
      ...{ id: text, provider: text, hosts: [text], isThis: false },
      ...{ sinceMs: nowMs, lastUsedMs: nowMs, expiresMs: nowMs },
    }];
    const html = String(<Portal {...{ services, sessions, nowMs }} />);
    doesNotMatch(html, /<script|<img|<h1|<\/title|<\/style/i, text);
    ok(html.includes("Search services"));
  }
});
