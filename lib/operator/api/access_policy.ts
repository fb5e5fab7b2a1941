/** AccessPolicy: who may use routes of bindings, compiled into policies of the relay. */
import { z } from "zod";
import { maxScope, methodPattern } from "../../config/entries/policies.ts";
import { listedPathPattern } from "../../config/entries/path_list.ts";
import { maxPathCharacters } from "../../domain/path_rules.ts";
import { conditions, dataKey, objectName, useLabel, withRules } from "./schema.ts";

/** Where a caller's token is. */
export const callerTokenRef = z.object({
  name: objectName.describe(
    `A Secret in the policy's namespace with the label ${useLabel}=true`,
  ),
  key: dataKey.default("token").describe("The Secret's key"),
});

const rule = withRules(
  z.object({
    claim: z.string().min(1).max(253).optional().describe("A claim of a person's token"),
    value: z.string().min(1).max(1024).optional().describe("The claim's value"),
    emailDomain: z.string().min(1).max(253).optional()
      .describe("The domain of a person's verified address"),
    token: z.string().min(1).max(253).optional().describe(
      "The name of a caller's token at the relay, or of the rule's own",
    ),
    tokenSha256: z.string().regex(/^[0-9A-Fa-f]{64}$/).optional()
      .describe("Digest of the rule's own token, which token then names in logs"),
    tokenRef: callerTokenRef.optional().describe(
      "The rule's own token, of which the relay gets the digest; token then names it in logs",
    ),
    certificate: z.string().min(1).max(253).optional()
      .describe("A name in a caller's client certificate"),
    address: z.string().min(1).max(64).optional().describe("An IP address or a range"),
    provider: z.string().min(1).max(63).optional()
      .describe("Who vouches for the person: a provider of the relay's services"),
    methods: z.array(z.string().regex(methodPattern)).min(1).max(maxScope).optional()
      .describe("Methods of the requests that the rule admits, CONNECT for upgrades; default: all"),
    paths: z.array(z.string().max(maxPathCharacters).regex(listedPathPattern)).min(1).max(maxScope)
      .optional()
      .describe("Their paths; one that ends in / includes all below it; default: all"),
  }),
  {
    rule:
      "[has(self.claim), has(self.emailDomain), has(self.token), has(self.certificate), has(self.address)].exists_one(x, x)",
    message: "a rule has one of claim, emailDomain, token, certificate and address",
  },
  { rule: "has(self.claim) == has(self.value)", message: "claim and value go together" },
  {
    rule: "!has(self.tokenSha256) || has(self.token)",
    message: "tokenSha256 needs token, which names it in logs",
  },
  {
    rule: "!has(self.tokenRef) || has(self.token)",
    message: "tokenRef needs token, which names it in logs",
  },
  {
    rule: "!has(self.tokenRef) || !has(self.tokenSha256)",
    message: "a rule has one of tokenSha256 and tokenRef",
  },
  {
    rule: "!has(self.provider) || has(self.claim) || has(self.emailDomain)",
    message: "provider belongs to claim or emailDomain",
  },
);

/** One of the bindings that a policy is about. */
export const targetRef = z.object({
  kind: z.enum(["TunnelBinding"]).default("TunnelBinding"),
  name: objectName.describe("A TunnelBinding of the policy's namespace"),
  route: z.string().min(1).max(63).optional().describe("One of its routes; without it, all"),
});

/** What a policy asks for. */
export const accessPolicySpec = withRules(
  z.object({
    targetRefs: z.array(targetRef).min(1).max(16),
    any: z.array(rule).min(1).max(32).optional()
      .describe("Callers that meet one of these rules may come in; without it, the route's policy"),
    requestsPerSecond: z.int().min(1).max(1_000_000).optional()
      .describe("Requests of all callers together to each of the routes, at each relay"),
  }),
  {
    rule: "has(self.any) || has(self.requestsPerSecond)",
    message: "a policy has any, requestsPerSecond or both",
  },
);

/** What is known of a policy. */
export const accessPolicyStatus = z.object({
  observedGeneration: z.int().optional(),
  ancestors: z.array(z.object({
    ancestorRef: targetRef,
    conditions: conditions.optional(),
  })).max(16).optional().describe("Whether each of targetRefs exists and is subject to the policy"),
  tokens: z.array(callerTokenRef.extend({ tokenSha256: z.string() })).max(32).optional()
    .describe("Digests of the rules' tokens, which count while the Secrets can't be read"),
  conditions: conditions.optional(),
});

export type CallerTokenRef = z.output<typeof callerTokenRef>;
export type AccessPolicyStatus = z.output<typeof accessPolicyStatus>;
export type AccessPolicySpec = z.output<typeof accessPolicySpec>;
