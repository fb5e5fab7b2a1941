/** The part of a Tunnel that is about its agents' NetworkPolicy. */
import { z } from "zod";
import { passedOn } from "./schema.ts";

const cidrs = z.array(z.string().min(3).max(64).regex(/^[0-9A-Fa-f.:]+\/[0-9]{1,3}$/)).min(1)
  .max(64);

/** `spec.agent.networkPolicy`. */
export const networkPolicy = z.object({
  enabled: z.boolean().default(false).describe(
    "Make a NetworkPolicy for the agents: DNS, the relay, the API server if it is served, and the bindings' Services",
  ),
  relayCIDRs: cidrs.optional().describe(
    "The relay's addresses, such as 203.0.113.10/32, or its proxy's; default: every address, at the port of relay.url or of the proxy",
  ),
  apiServerCIDRs: cidrs.optional().describe(
    "The API server's addresses; default: every address, at ports 443 and 6443",
  ),
  ingressFrom: z.array(passedOn).min(1).max(64).optional().describe(
    "NetworkPolicyPeers that may reach the health listener; default: all, as kubelets' addresses are not known",
  ),
  egress: z.array(passedOn).max(64).optional()
    .describe("Further NetworkPolicyEgressRules, for what the operator can't know"),
});
