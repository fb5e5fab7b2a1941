/** How a Tunnel reaches its relay: agents at its public listener, and the operator at its admin API. */
import { z } from "zod";
import { dataKey, objectName, withRules } from "./schema.ts";

const tokenRef = z.object({
  name: objectName.describe(
    "A Secret in the Tunnel's namespace; in the operator's for a ClusterTunnel",
  ),
  key: dataKey.default("token").describe("The Secret's key"),
});

const caRef = z.object({
  kind: z.enum(["ConfigMap", "Secret"]).default("ConfigMap"),
  name: objectName,
  key: dataKey.default("ca.crt"),
});

const clientCertRef = z.object({ name: objectName });

const proxyRef = z.object({
  kind: z.enum(["ConfigMap", "Secret"]).default("Secret"),
  name: objectName,
  key: dataKey.default("proxy"),
});

const urlFault = "must have a host, and a port up to 65535 if it has one";

/** A URL that this program can read; the API server checks less with {@link hostAndPort}. */
function urlOf(pattern: RegExp): z.ZodType<string> {
  return z.string().min(1).max(2048).regex(pattern)
    .refine((text) => URL.canParse(text), urlFault);
}

/** A name or an IPv6 address, and a port; for CEL, which has RE2. */
const hostAndPort = "([^]/?#@%: []+|[[][0-9A-Fa-f:.]+[]])(:([0-9]{1,4}|[1-5][0-9]{4}|" +
  "6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])?)?(/|$)";

/** `spec.relay.registration.api` of both kinds. */
export const api = z.object({
  endpoint: urlOf(/^https?:\/\/[^/?#@]+\/?$/)
    .describe("The relay's admin listener: https://HOST:PORT"),
  tokenRef: tokenRef.describe("The token for the relay's admin API (--admin-tokens)"),
  caRef: caRef.optional().describe("CA of the admin listener's certificate, in PEM"),
  clientCertRef: clientCertRef.optional().describe(
    "A Secret of type kubernetes.io/tls with the certificate that the operator shows to the admin listener",
  ),
  proxyRef: proxyRef.optional().describe(
    "The URL of an HTTP proxy between the operator and the admin listener; without it, the operator's own environment",
  ),
});

const registration = withRules(
  z.object({
    api: api.optional().describe("Register the tunnel through the relay's admin API"),
    secret: z.object({ name: objectName }).optional()
      .describe("Write the entry for the relay's clusters file to this Secret; it holds no token"),
    existing: z.object({ tokenRef }).optional()
      .describe("Use a token that the relay knows already"),
  }),
  {
    rule: "[has(self.api), has(self.secret), has(self.existing)].exists_one(x, x)",
    message: "registration must have exactly one of api, secret and existing",
  },
);

/** A relay where a tunnel is registered, and how the operator gets there. */
export const relayPlace = api.extend({
  tokenVersion: z.string().optional().describe(
    "uid/resourceVersion of the Secret whose token is used there",
  ),
});

/** A relay where a tunnel was before. */
export const formerRelay = relayPlace.extend({
  since: z.string().optional().describe("When agents were connected at the relay after it"),
  isLeft: z.boolean().optional().describe("Whether what the tunnel has there is being withdrawn"),
});

/** `spec.relay` of both kinds. */
export const relay = withRules(
  z.object({
    url: urlOf(/^wss?:\/\/[^?#@]+$/)
      .describe("WebSocket URL of the relay's public listener: wss://HOST[:PORT]/connect"),
    caRef: caRef.optional().describe(
      "CA of the relay's certificate, in PEM; without it, public CAs",
    ),
    serverName: z.string().min(1).max(253).optional()
      .describe("Name that the relay's certificate must hold, if it differs from the URL's host"),
    clientCertRef: clientCertRef.optional().describe(
      "A Secret of type kubernetes.io/tls with the certificate that agents show to the relay",
    ),
    proxyRef: proxyRef.optional().describe(
      "The URL of an HTTP proxy between the agents and the relay, http://USER:PASSWORD@HOST:PORT",
    ),
    allowInsecure: z.boolean().default(false)
      .describe(
        "Allow ws:// and http://, which show tokens to everybody on the way; for tests only",
      ),
    registration,
  }),
  {
    rule: `self.url.matches('^wss?://${hostAndPort}')`,
    message: `relay.url ${urlFault}`,
  },
  {
    rule: "!has(self.registration.api) || " +
      `self.registration.api.endpoint.matches('^https?://${hostAndPort}')`,
    message: `relay.registration.api.endpoint ${urlFault}`,
  },
  {
    rule: "self.url.startsWith('wss://') || self.allowInsecure",
    message: "relay.url must begin with wss://, or relay.allowInsecure must be true",
  },
  {
    rule: "!has(self.clientCertRef) || self.url.startsWith('wss://')",
    message: "relay.clientCertRef needs a relay.url that begins with wss://",
  },
  {
    rule:
      "!has(self.registration.api) || !has(self.registration.api.clientCertRef) || self.registration.api.endpoint.startsWith('https://')",
    message: "relay.registration.api.clientCertRef needs an endpoint that begins with https://",
  },
  {
    rule:
      "!has(self.registration.api) || self.registration.api.endpoint.startsWith('https://') || self.allowInsecure",
    message:
      "relay.registration.api.endpoint must begin with https://, or relay.allowInsecure must be true",
  },
);

export type CaRef = z.output<typeof caRef>;
export type ProxyRef = z.output<typeof proxyRef>;
export type ClientCertRef = z.output<typeof clientCertRef>;
export type TokenRef = z.output<typeof tokenRef>;
/** Where a tunnel is registered, and how the operator gets there. */
export type RelayPlace = z.output<typeof relayPlace>;
/** An endpoint as requests have it: without a slash at its end. */
export function endpointOf({ endpoint }: Pick<RelayPlace, "endpoint">): string {
  return endpoint.replace(/\/+$/, "");
}

export type FormerRelay = z.output<typeof formerRelay>;
