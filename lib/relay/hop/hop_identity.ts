/** What is told about a caller, as one relay hands it to another. */
import { z } from "zod";
import { field } from "../../http1/head.ts";
import type { CallerIdentity } from "../people/identities.ts";

const identitySchema = z.object({
  fields: z.array(z.tuple([z.string().regex(/^[A-Za-z0-9-]+$/), z.string()])),
  hides: z.array(z.string()),
  impersonation: z.object({
    assertion: z.string(),
    user: z.string(),
    groups: z.array(z.string()),
    proof: z.string().optional(),
  }).optional(),
});

/** Encodes an identity as the value of a header: base64 of JSON. */
export function encodeIdentity({ fields, hides, impersonation }: CallerIdentity): string {
  const told = fields.map(({ name, value }) => [name, value]);
  const json = JSON.stringify({ fields: told, hides, impersonation });
  return new TextEncoder().encode(json).toBase64({ alphabet: "base64url", omitPadding: true });
}

/** @returns undefined for what no relay writes */
export function decodeIdentity(text: string): CallerIdentity | undefined {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet: "base64url" });
    const { fields, hides, impersonation } = identitySchema.parse(
      JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)),
    );
    return { fields: fields.map(([name, value]) => field(name, value)), hides, impersonation };
  } catch {
    return undefined;
  }
}
