/**
 * What browsers get of a target's response where people sign in: nothing that would reach the relay's
 * cookies or other hosts', be kept for somebody else, or be framed by a page that nobody let in.
 */
import type { Service } from "../../domain/service.ts";
import { PUBLIC_POLICY } from "../../domain/service.ts";
import { type Field, field } from "../../http1/head.ts";
import { withoutForeignEffects } from "../relay_cookies.ts";

/** A response's fields. @param hostname the service's that was asked for, without a port */
export function serviceResponseFields(
  service: Service,
  hostname: string,
  fields: readonly Field[],
): Field[] {
  const kept: Field[] = [];
  for (const item of fields) {
    const narrowed = withoutForeignEffects(item, hostname);
    if (narrowed) kept.push(narrowed);
  }
  if (service.policy === PUBLIC_POLICY) return kept;
  const own = kept.map((item) => item.key === "cache-control" ? privately(item) : item);
  own.push(field("Vary", "Cookie"));
  // Policies add up: it takes nothing from what the app says itself.
  const ancestors = ["'self'", ...service.frameOrigins ?? []].join(" ");
  own.push(field("Content-Security-Policy", `frame-ancestors ${ancestors}`));
  return own;
}

/** Makes a response private to the browser: a shared cache does not know whom the relay lets in. */
function privately(item: Field): Field {
  const directives = item.value.split(",").map((directive) => directive.trim());
  const isShared = (directive: string) => /^(?:public|s-maxage(?:=.*)?)$/i.test(directive);
  if (!directives.some(isShared)) return item;
  const kept = directives.filter((directive) =>
    !isShared(directive) && directive.toLowerCase() !== "private"
  );
  return field(item.name, ["private", ...kept].join(", "));
}
