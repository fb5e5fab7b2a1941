import assert from "node:assert/strict";
import { field } from "../../lib/http1/head.ts";
import {
  readCookie,
  withoutForeignEffects,
  withoutOwnCookies,
} from "../../lib/relay/relay_cookies.ts";

const name = "__Host-Http-culvert";

function read(...values: string[]): string | undefined {
  return readCookie(values.map((value) => field("Cookie", value)), name);
}

Deno.test("A cookie is found among others, in one header line or several", () => {
  assert.equal(read(`a=b; ${name}=x.y_z-1; c=d`), "x.y_z-1");
  assert.equal(read("a=b", `${name}=x`), "x");
  assert.equal(read(`${name}=x;a`), "x");
  assert.equal(read(`  \t${name}=x\t `), "x");
});

const nothing: readonly (readonly string[])[] = [
  [`${name}=x; ${name}=y`],
  [`${name}=x`, `${name}=x`],
  [`\u2000${name}=x`],
  [`\u00a0${name}=x`],
  [`\x0b${name}=x`],
  [`$Version=1; $Path=/; a="; ${name}=x"`],
  [`$Version=1, ${name}=x`],
  [`${name.toLowerCase()}=x`],
  [`${encodeURIComponent("__Host-Http-culvert ")}=x`],
  [`__Host%2DHttp-culvert=x`],
  [`"${name}"=x`],
  [`${name}="x"`],
  [`${name}=x y`],
  [`${name}=`],
  [name],
  [`=${name}=x`],
  [`a=1,${name}=x`],
];

for (const values of nothing) {
  Deno.test(`No session is read from ${JSON.stringify(values)}`, () => {
    assert.equal(read(...values), undefined);
  });
}

Deno.test("The relay's cookies are cut out, and the others stay byte for byte and in order", () => {
  const cut = (value: string) => withoutOwnCookies(field("Cookie", value))?.value;
  assert.equal(cut(`a=1;  b="2; ${name}=x;c=3`), 'a=1;  b="2;c=3');
  assert.equal(cut(`${name}=x; a=1`), "a=1");
  assert.equal(cut(`${name}=x; ${name}-t-abc=1; culvert-dev=2; culvert-dev-login=4`), undefined);
  assert.equal(cut("a=culvert; b=2"), "a=culvert; b=2");
  assert.equal(cut(`a=1; ${name}=x`), "a=1");
  assert.equal(cut("my-culvert-dev=1"), "my-culvert-dev=1");
});

Deno.test("The cookie in which Cloudflare Access keeps its JWT goes no further than its header does", () => {
  const cut = (value: string) => withoutOwnCookies(field("Cookie", value))?.value;
  assert.equal(cut("a=b; CF_Authorization=ey.J.x; c=d"), "a=b; c=d");
  assert.equal(cut(`CF_Authorization=ey.J.x; ${name}=y`), undefined);
  assert.equal(
    cut("CF_AuthorizationX=1; x=CF_Authorization"),
    "CF_AuthorizationX=1; x=CF_Authorization",
  );
});

Deno.test("A target's answer sets no cookie of the relay's, nor one for other hosts", () => {
  const pass = (value: string) =>
    withoutForeignEffects(field("Set-Cookie", value), "app.example.com")?.value;
  for (
    const value of [
      `${name}=x; Path=/`,
      ` ${name} =x`,
      "culvert-dev-t-1=x",
      `=${name}=x; Path=/`,
      ` = ${name}-t-1 =x`,
      `=${name}`,
      name,
      "a=b; Domain=example.com",
      "a=b; domain = .Example.com",
      "a=b; DOMAIN=com; Path=/",
      "a=b; Domain=other.example.com",
    ]
  ) assert.equal(pass(value), undefined, value);
  for (
    const value of [
      "a=b; Path=/",
      "a=b; Domain=app.example.com",
      "a=b; Domain=.app.example.com",
      "a=b; Domain=x.app.example.com",
      "a=b; Domain=",
      "sid=culvert; HttpOnly",
      "=a=b",
      "plain",
    ]
  ) assert.equal(pass(value), value);
});

Deno.test("A target's answer clears no cookies, which the browser would clear at all hosts of the domain", () => {
  const pass = (value: string) =>
    withoutForeignEffects(field("Clear-Site-Data", value), "app.example.com")?.value;
  assert.equal(pass('"cache", "cookies"'), '"cache"');
  assert.equal(pass('"*"'), undefined);
  assert.equal(pass('"cookies"'), undefined);
  assert.equal(pass('"cache","storage"'), '"cache","storage"');
});
