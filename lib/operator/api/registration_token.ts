/** RegistrationToken: lets other clusters register at the relay, within bounds. */
import { z } from "zod";
import { argocdSpec, clusterProfileSpec } from "./cluster.ts";
import { conditions, withRules } from "./schema.ts";

const idPrefix = z.string().min(1).max(200).regex(/^[A-Za-z0-9][A-Za-z0-9._-]*\*?$/);
const hostSuffix = z.string().min(1).max(253)
  .regex(/^\*?\.?[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*$/);

/** What the token allows. */
export const registrationTokenSpec = withRules(
  z.object({
    idPrefixes: z.array(idPrefix).min(1).max(64)
      .describe("Beginnings of the ids that may be registered: edge- is every id that begins so"),
    hostSuffixes: z.array(hostSuffix).max(64).default([]).describe(
      "Domains under which hostnames may be registered: a.example.com is web.a.example.com",
    ),
    maxClusters: z.int().min(1).max(100000).optional()
      .describe("Clusters that may be registered at once; default: any number"),
    expires: z.string().max(64).meta({ format: "date-time" }).optional(),
    autoAccept: z.boolean().default(true)
      .describe("False: clusters wait until spec.accepted of their Cluster is true"),
    leaseDuration: z.string().max(16).regex(/^[1-9][0-9]*(s|m|h)$/).optional().describe(
      "The longest lease that a cluster's entry may have: 10s to 720h",
    ),
    argocd: argocdSpec.prefault({ enabled: false })
      .describe("What Argo CD is to have of clusters that register; copied into their Clusters"),
    clusterProfile: clusterProfileSpec.prefault({ enabled: false })
      .describe("How such clusters are in the cluster inventory; copied into their Clusters"),
  }),
  {
    rule:
      "!has(self.leaseDuration) || (duration(self.leaseDuration) >= duration('10s') && duration(self.leaseDuration) <= duration('720h'))",
    message: "leaseDuration must be from 10s to 720h",
  },
);

/** What is known of it. */
export const registrationTokenStatus = z.object({
  observedGeneration: z.int().optional(),
  secretRef: z.object({ name: z.string(), key: z.string() }).optional()
    .describe("The Secret with the token, for registration.api.tokenRef of Tunnels"),
  used: z.int().optional().describe("Clusters that are registered with it"),
  conditions: conditions.optional(),
});

export type RegistrationTokenSpec = z.output<typeof registrationTokenSpec>;
export type RegistrationTokenStatus = z.output<typeof registrationTokenStatus>;
