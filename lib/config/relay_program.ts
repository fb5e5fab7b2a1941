/** The relay's help text. */
import {
  clustersProgram,
  servicesProgram,
  sessionsProgram,
  statusProgram,
  streamsProgram,
} from "./commands/admin_options.ts";
import { argocdSecretProgram } from "./commands/argocd_options.ts";
import { kubeconfigProgram } from "./commands/kubeconfig_options.ts";
import { tokenProgram } from "./commands/token_options.ts";
import type { Program } from "./options/option_table.ts";
import { relayTable } from "./tables/relay.ts";
import { exitCodes } from "./tables/shared.ts";
import { version } from "./version.ts";

/** The relay as its help text presents it. */
export const relayProgram: Program<typeof relayTable> = {
  name: "relay",
  version,
  usage: "--clusters FILE|DIR|JSON [options]",
  commands: [
    kubeconfigProgram,
    argocdSecretProgram,
    tokenProgram,
    statusProgram,
    clustersProgram,
    servicesProgram,
    sessionsProgram,
    streamsProgram,
  ],
  summary:
    "The public side of culvert, a reverse tunnel. Agents beside a Kubernetes API server or " +
    "any other HTTP service connect over WebSocket and wait; callers reach the service through " +
    "the relay at http://RELAY-INTERNAL/tunnel/{id}/PATH. The relay drops the caller's " +
    "credentials, and the agent adds its own.",
  options: relayTable,
  chart: "culvert-relay",
  examples: [
    {
      title: "Serve the clusters in a file to callers on this machine",
      command: "relay --clusters clusters.json --internal-addr 127.0.0.1:8080",
    },
    {
      title: "To callers that have a token",
      command: "relay --clusters clusters.json --caller-tokens callers.json",
    },
    {
      title: "One cluster, from the environment",
      command:
        `CLUSTERS='[{"id":"dev","token":"…","targetAddr":"127.0.0.1:6443"}]' relay --callers open`,
    },
    {
      title: "In production: TLS, and certificates from agents and callers",
      command: "relay --clusters clusters.json --tls-cert tls.crt --tls-key tls.key " +
        "--tls-client-ca ca.crt",
    },
  ],
  exitCodes,
};
