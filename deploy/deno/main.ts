/** The relay on Deno Deploy, or on one port under `deno serve`'s rules: agents and callers share it. */
import { edgeApp } from "../../lib/relay/edge_app.ts";
import { denoHandler } from "../../lib/runtime/deno/edge_server.ts";
import { tokenDigest } from "../../lib/runtime/node/token_digest.ts";
import { createEdgeRelay, misconfigured } from "../edge_relay.ts";

const edge = await createEdgeRelay(Deno.env.toObject(), {
  defer: setImmediate,
  digest: tokenDigest,
});

/** What `deno serve` and Deno Deploy call. */
const entry: Deno.ServeDefaultExport = {
  fetch: "fault" in edge ? () => misconfigured(edge) : denoHandler(
    edgeApp(edge.relay).fetch,
    (error) => edge.log.error("Request handler failed", { error: String(error) }),
  ),
};

if ("fault" in edge) console.error(JSON.stringify({ level: "error", message: edge.fault }));

export default entry;
