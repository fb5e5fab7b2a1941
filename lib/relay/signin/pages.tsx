/** The relay's own pages. They are made here whole, load nothing but their style, and run no script. */
import type { Child } from "hono/jsx";
import { stylePath, styleSheet } from "./style.ts";

/** What goes around a page. */
export interface PageOptions {
  readonly status: number;
  readonly headers?: readonly (readonly [name: string, value: string])[];
  /** Origins to which the page's forms lead, redirects included, besides its own. */
  readonly formOrigins?: readonly string[];
  /** Which pages may frame it: none, unless told. */
  readonly frameAncestors?: string;
}

interface LayoutProps {
  readonly title: string;
  readonly children: Child;
}

function Layout({ title, children }: LayoutProps) {
  return (
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>{title}</title>
        <link rel="stylesheet" href={stylePath} />
      </head>
      <body>
        <main>
          <h1>{title}</h1>
          {children}
        </main>
      </body>
    </html>
  );
}

/** Answers with a page. */
export function page(title: string, content: Child, options: PageOptions): Response {
  const html = `<!doctype html>\n${<Layout title={title}>{content}</Layout>}`;
  const headers = new Headers(ownHeaders);
  headers.set("Content-Type", "text/html; charset=utf-8");
  headers.set("Content-Security-Policy", policyOf(options));
  if (options.frameAncestors === undefined) headers.set("X-Frame-Options", "DENY");
  for (const [name, value] of options.headers ?? []) headers.append(name, value);
  return new Response(html, { status: options.status, headers });
}

/** What goes with every answer of the relay's own at a hostname. */
export const ownHeaders: readonly [string, string][] = [
  ["Cache-Control", "no-store"],
  ["Referrer-Policy", "no-referrer"],
  ["X-Content-Type-Options", "nosniff"],
  ["Vary", "Cookie"],
];

function policyOf({ formOrigins = [], frameAncestors = "'none'" }: PageOptions): string {
  return [
    "default-src 'none'",
    "style-src 'self'",
    `form-action ${["'self'", ...new Set(formOrigins)].join(" ")}`,
    `frame-ancestors ${frameAncestors}`,
    "base-uri 'none'",
  ].join("; ");
}

/** Answers with the pages' style sheet. */
export function styleResponse(): Response {
  return new Response(styleSheet, {
    headers: {
      "Content-Type": "text/css; charset=utf-8",
      "Cache-Control": "public, max-age=300",
      "X-Content-Type-Options": "nosniff",
    },
  });
}

/** What happened and what can be done, for the pages that say no more. */
export interface NoticeProps {
  readonly text: string;
  readonly link?: { readonly href: string; readonly label: string; readonly target?: string };
  readonly requestId?: string | undefined;
}

/** A sentence, and perhaps a link. */
export function Notice({ text, link, requestId }: NoticeProps) {
  return (
    <>
      <p>{text}</p>
      {link && (
        <div class="actions">
          <a class="button" href={link.href} {...link.target && { target: link.target }}>
            {link.label}
          </a>
        </div>
      )}
      <RequestId id={requestId} />
    </>
  );
}

function RequestId({ id }: { readonly id: string | undefined }) {
  return id === undefined ? null : (
    <p>
      <small>Request {id}</small>
    </p>
  );
}

/** Who is signed in, and why that is not enough. */
export interface DeniedProps {
  readonly username: string;
  readonly provider: string;
  readonly service: string;
  readonly missing: readonly string[];
  readonly tellsGroups: boolean;
  /** Signs in again, as somebody else. */
  readonly switchUrl: string;
  readonly requestId: string | undefined;
}

/** The page of somebody whom a policy does not let in. */
export function Denied(
  { username, provider, service, missing, tellsGroups, switchUrl, requestId }: DeniedProps,
) {
  return (
    <>
      <p>You are signed in, but the policy of this service does not let you in.</p>
      <dl>
        <dt>Account</dt>
        <dd>{username} ({provider})</dd>
        <dt>Service</dt>
        <dd>{service}</dd>
        {missing.length > 0 && (
          <>
            <dt>Missing</dt>
            {missing.map((rule) => <dd key={rule}>{rule}</dd>)}
          </>
        )}
      </dl>
      {!tellsGroups && (
        <p>
          The provider has not told the groups of this account (groups not told), so no rule about
          groups can match.
        </p>
      )}
      <div class="actions">
        <a class="button" href={switchUrl}>Use another account</a>
      </div>
      <RequestId id={requestId} />
    </>
  );
}

/** A button that sends an empty form. */
export interface ActionProps {
  readonly action: string;
  readonly label: string;
}

/** @see ActionProps */
export function Action({ action, label }: ActionProps) {
  return (
    <form method="post" action={action}>
      <button type="submit">{label}</button>
    </form>
  );
}
