/** The Caddy recipe, with Caddy built from its Go module. */
import { fileURLToPath } from "node:url";
import { must } from "../deploy/tools.ts";
import { startProgram, type StartProxy, testFront } from "./behind.ts";
import { placed, recipeBlocks, relayName } from "./recipes.ts";

const caddyModule = "github.com/caddyserver/caddy/v2/cmd/caddy@v2.10.2";
/** For Go to fetch and compile it, on a machine that never did. */
const buildTimeoutMs = 900_000;

/** Kept out of the tree, and between runs. */
const tools = fileURLToPath(new URL("../../dist/tools/", import.meta.url));

await must("go", ["install", "-trimpath", "-ldflags=-s -w", caddyModule], {
  env: { GOBIN: tools, CGO_ENABLED: "0" },
  timeoutMs: buildTimeoutMs,
});

const caddy: StartProxy = async (places, folder) => {
  const [recipe] = recipeBlocks("caddyfile");
  const options = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
  const site = placed(recipe!, places).replace(`${relayName} {`, `${relayName}:${places.port} {`);
  await Deno.writeTextFile(`${folder}/Caddyfile`, options + site);
  const args = ["run", "--adapter", "caddyfile", "--config", `${folder}/Caddyfile`];
  return await startProgram(`${tools}caddy`, args, places.port, {
    HOME: folder,
    XDG_DATA_HOME: folder,
    XDG_CONFIG_HOME: folder,
  });
};

testFront("Caddy", caddy);
