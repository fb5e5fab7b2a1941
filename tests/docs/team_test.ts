/** The guides of team.md: what they have readers write is what the programs take. */
import assert from "node:assert/strict";
import { parse, stringify } from "yaml";
import { readServices, type Services } from "../../lib/config/entries/services.ts";
import { readTargets } from "../../lib/config/entries/targets.ts";
import { Impersonator } from "../../lib/agent/impersonator.ts";
import { readText } from "./markdown.ts";

const text = readText("docs/team.md");

/** The page's part below a heading. */
function part(heading: string): string {
  const found = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  assert.ok(found, heading);
  return found;
}

function yamlIn(section: string): Record<string, unknown>[] {
  return [...section.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, block]) => parse(block!));
}

function read(file: Record<string, unknown>): Services {
  const context = { ownNames: [], hasJwtIssuer: false };
  return readServices([{ text: stringify(file), source: "docs/team.md" }], context);
}

Deno.test("team.md: the services of each guide are a file that the relay takes", () => {
  const keycloak = /^cat > services\.yaml << 'END'\n([\s\S]*?)^END$/m.exec(part("With Keycloak"));
  assert.deepEqual(read(parse(keycloak![1]!)).warnings, []);
  const [cloudflare] = yamlIn(part("With Cloudflare Access"));
  assert.equal(read(cloudflare!).services[0]!.provider, "access");
  const [github] = yamlIn(part("With GitHub"));
  assert.equal(read(github!).services[0]!.provider, "github");
  const [, kube] = yamlIn(part("kubectl for my team"));
  const both = { ...github, services: kube!["services"] };
  assert.deepEqual(read(both).services[0]!.identity?.impersonate?.groups, {
    platform: ["platform"],
  });
});

Deno.test("team.md: agent and relay of the guide for kubectl agree on whom people stand for", () => {
  const [agent, kube] = yamlIn(part("kubectl for my team"));
  const [target] = readTargets(stringify({ targets: agent!["targets"] }), "docs/team.md");
  const demands = target!.impersonate!;
  const [github] = yamlIn(part("With GitHub"));
  const { services: [service], login } = read({ ...github, services: kube!["services"] });
  assert.equal(demands.issuer, login!.host.name);
  assert.deepEqual(demands.audience, service!.hostnames.map(({ name }) => name));
  const map = service!.identity!.impersonate!;
  assert.equal(map.prefix, demands.prefix);
  for (const group of Object.values(map.groups).flat()) assert.ok(demands.groups.includes(group));
  const { groups } = (agent!["rbac"] as { impersonate: { groups: string[] } }).impersonate;
  assert.deepEqual(groups, demands.groups);
  assert.ok(new Impersonator(demands, { find: () => Promise.reject(), nowMs: () => 0 }));
});
