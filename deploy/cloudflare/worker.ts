/**
 * The relay on Cloudflare: a Worker that admits requests, and a Durable Object for each cluster, in
 * which its agents' WebSockets end. The platform finds a cluster's object by its name, wherever it runs.
 */
import { edgeApp } from "../../lib/relay/edge_app.ts";
import { admitAtEdge } from "../../lib/relay/edge_admission.ts";
import { clusterNotAvailable } from "../../lib/relay/availability_errors.ts";
import { errorResponse } from "../../lib/relay/error_response.ts";
import { peerOf, serveInWorker } from "../../lib/runtime/cloudflare/edge_server.ts";
import type { ObjectNamespace } from "../../lib/runtime/cloudflare/platform.ts";
import {
  createEdgeRelay,
  type EdgeRelay,
  type Misconfigured,
  misconfigured,
} from "../edge_relay.ts";

/** Bindings in `wrangler.jsonc`, secrets and variables. */
interface Bindings {
  readonly CLUSTER_TUNNEL: ObjectNamespace;
  readonly [setting: string]: unknown;
}

/** Only text is a setting. */
function settingsOf(bindings: Bindings): Record<string, string> {
  const entries = Object.entries(bindings).filter(([, value]) => typeof value === "string");
  return Object.fromEntries(entries) as Record<string, string>;
}

function create(bindings: Bindings): Promise<EdgeRelay | Misconfigured> {
  return createEdgeRelay(settingsOf(bindings), {
    // Each object has numbers of its own, and there is nobody who could add them up.
    defer: (run) => setTimeout(run, 0),
  });
}

/** The relay that admits requests; the objects have its sessions. */
let admitting: EdgeRelay | Misconfigured | undefined;

/** What Cloudflare calls for each request. */
export default {
  async fetch(request: Request, bindings: Bindings): Promise<Response> {
    // Never a promise shared between requests: one that is given up would leave the others waiting.
    const edge = admitting ??= await create(bindings);
    if ("fault" in edge) return misconfigured(edge);
    const { relay, log } = edge;
    const cluster = await admitAtEdge(relay, request, peerOf(request));
    if (cluster instanceof Response) return cluster;
    try {
      return await bindings.CLUSTER_TUNNEL.getByName(cluster).fetch(request);
    } catch (error) {
      // It was restarted, or moved: what was under way in it is lost, and may have been done.
      log.warn("The cluster's object broke off", { cluster, error: String(error) });
      return errorResponse(clusterNotAvailable);
    }
  },
};

/** A cluster's object: a relay of its own, for as long as it stays in memory. */
export class ClusterTunnel {
  readonly #bindings: Bindings;
  #edge: EdgeRelay | Misconfigured | undefined;
  #app: ReturnType<typeof edgeApp> | undefined;

  constructor(_state: unknown, bindings: Bindings) {
    this.#bindings = bindings;
  }

  /** Serves what the Worker admitted, and checks its credentials again. */
  async fetch(request: Request): Promise<Response> {
    const edge = this.#edge ??= await create(this.#bindings);
    if ("fault" in edge) return misconfigured(edge);
    this.#app ??= edgeApp(edge.relay);
    const fault = (error: unknown) =>
      edge.log.error("Request handler failed", { error: String(error) });
    return await serveInWorker(request, this.#app.fetch, fault);
  }
}
