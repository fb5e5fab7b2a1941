/** A relay for the edge, put together from a platform's settings. */
import { ConfigError } from "../lib/config/config_error.ts";
import { type EdgeOptions, readEdgeOptions } from "../lib/config/edge_options.ts";
import type { Environment } from "../lib/config/options/options.ts";
import { version } from "../lib/config/version.ts";
import { defaultHeadLimits } from "../lib/http1/head.ts";
import type { Log } from "../lib/log.ts";
import { notConfigured } from "../lib/relay/availability_errors.ts";
import { errorResponse } from "../lib/relay/error_response.ts";
import { Relay, type RelayParts } from "../lib/relay/relay.ts";
import { consoleLog } from "../lib/runtime/console_log.ts";

/** A relay and where it logs. */
export interface EdgeRelay {
  readonly relay: Relay;
  readonly log: Log;
}

/** Settings that can't be used, in one line that says which. */
export interface Misconfigured {
  readonly fault: string;
}

/** Builds a relay, or says which setting is missing or wrong. */
export async function createEdgeRelay(
  env: Environment,
  parts: RelayParts,
): Promise<EdgeRelay | Misconfigured> {
  let options: EdgeOptions;
  try {
    options = readEdgeOptions(env);
  } catch (error) {
    if (error instanceof ConfigError) return { fault: error.message };
    throw error;
  }
  const log = consoleLog("relay", options.logLevel);
  for (const warning of options.warnings) log.warn(warning);
  const relay = await Relay.create(
    {
      clusters: options.clusters,
      services: options.services,
      people: options.people,
      callers: options.callers,
      limits: options.limits,
      clusterLimits: options.clusterLimits,
      idleTimeoutMs: options.idleTimeoutMs,
      responseTimeoutMs: options.responseTimeoutMs,
      maxBodyBytes: options.maxBodyBytes,
      head: { ...defaultHeadLimits, maxBytes: options.maxHeaderBytes },
      maxStreams: options.maxStreams,
      version,
    },
    log,
    parts,
  );
  return { relay, log };
}

/** What a relay without its settings answers to everything. */
export function misconfigured({ fault }: Misconfigured): Response {
  return errorResponse(notConfigured(fault));
}
