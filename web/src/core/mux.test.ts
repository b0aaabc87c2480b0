import { describe, expect, it } from 'vitest';
import { WINDOW } from './frame';
import { MAX_STREAMS, MuxError, PacketError, Session, type Welcome } from './mux';

const text = (s: string): Uint8Array => new TextEncoder().encode(s);

function packet(type: number, stream: number, payload: Uint8Array): ArrayBuffer {
  const b = new Uint8Array(5 + payload.length);
  b[0] = type;
  new DataView(b.buffer).setUint32(1, stream);
  b.set(payload, 5);
  return b.buffer;
}

function setUp() {
  const sent: { type: number; stream: number; payload: Uint8Array }[] = [];
  const heard: { welcome?: Welcome; pong?: number } = {};
  const session = new Session(
    (p) => sent.push({ type: p[0] ?? 0, stream: new DataView(p.buffer).getUint32(1), payload: p.subarray(5) }),
    { welcome: (w) => (heard.welcome = w), pong: (at) => (heard.pong = at) },
  );
  const came: { items: unknown[]; bytes: number; result?: unknown; error?: MuxError } = { items: [], bytes: 0 };
  const handlers = {
    item: (i: unknown) => came.items.push(i),
    data: (b: Uint8Array) => (came.bytes += b.length),
    result: (r: unknown) => (came.result = r),
    fail: (e: MuxError) => (came.error = e),
  };
  return { sent, heard, session, came, handlers };
}

describe('Session', () => {
  it('asks, and hands on what comes', () => {
    const { sent, session, came, handlers } = setUp();
    const id = session.open({ op: 'list', path: '/x' }, undefined, handlers);
    expect(sent).toHaveLength(1);
    expect(sent[0]).toMatchObject({ type: 0x20, stream: id });
    expect(JSON.parse(new TextDecoder().decode(sent[0]?.payload))).toEqual({ op: 'list', path: '/x' });
    session.receive(packet(0x25, id, text('{"entries":[]}')));
    session.receive(packet(0x21, id, text('abc')));
    session.receive(packet(0x26, id, text('{"truncated":true}')));
    expect(came).toMatchObject({ items: [{ entries: [] }], bytes: 3, result: { truncated: true } });
    expect(session.room).toBe(MAX_STREAMS);
  });

  it('tells why a stream failed, also when the connection is lost', () => {
    const { session, came, handlers } = setUp();
    const id = session.open({ op: 'stat' }, undefined, handlers);
    session.receive(packet(0x27, id, text('{"kind":"not_found","field":"path","text":"none"}')));
    expect(came.error).toMatchObject({ kind: 'not_found', field: 'path', message: 'none' });
    session.open({ op: 'stat' }, undefined, handlers);
    session.lost();
    expect(came.error?.kind).toBe('lost');
  });

  it('sends a body only as far as its credit goes, in order and whole', () => {
    const { sent, session, handlers } = setUp();
    const body = Uint8Array.from({ length: 2 * WINDOW + 77 }, (_, i) => i % 251);
    const id = session.open({ op: 'put', path: 'x' }, body, handlers);
    const data = (): number[] => sent.filter((p) => p.type === 0x21).flatMap((p) => [...p.payload]);
    expect(data()).toHaveLength(WINDOW);
    expect(sent.some((p) => p.type === 0x22)).toBe(false);
    const credit = new Uint8Array(4);
    new DataView(credit.buffer).setUint32(0, 100_000);
    for (let i = 0; i < 4; i++) session.receive(packet(0x24, id, credit));
    expect(data()).toEqual([...body]);
    expect(sent.at(-1)).toMatchObject({ type: 0x22, stream: id });
    expect(sent.filter((p) => p.type === 0x22)).toHaveLength(1);
  });

  it('gives credit for what it took, so that the agent never waits for long', () => {
    const { sent, session, handlers } = setUp();
    const id = session.open({ op: 'read', path: 'x' }, undefined, handlers);
    let owed = 0;
    let given = 0;
    for (let i = 0; i < 100; i++) {
      session.receive(packet(0x21, id, new Uint8Array(30_000)));
      owed += 30_000;
      given = sent.filter((p) => p.type === 0x24).reduce((n, p) => n + new DataView(p.payload.slice().buffer).getUint32(0), 0);
      expect(owed - given).toBeLessThan(WINDOW / 4);
    }
    expect(given).toBeLessThanOrEqual(owed);
  });

  it('stops a body that is cancelled', () => {
    const { sent, session, came, handlers } = setUp();
    const id = session.open({ op: 'put', path: 'x' }, new Uint8Array(2 * WINDOW), handlers);
    session.cancel(id);
    const before = sent.length;
    session.receive(packet(0x24, id, new Uint8Array([0, 1, 0, 0])));
    expect(sent).toHaveLength(before);
    session.receive(packet(0x27, id, text('{"kind":"unavailable","text":"cancelled"}')));
    expect(came.error).toBeInstanceOf(MuxError);
  });

  it('hears welcome and pong', () => {
    const { sent, heard, session } = setUp();
    session.receive(packet(0x2a, 0, text('{"version":1,"dir":"/workspace","home":"/home/dev","user":"dev","boot_id":"b"}')));
    expect(heard.welcome?.dir).toBe('/workspace');
    session.ping(123.5);
    session.receive(packet(0x29, 0, sent.at(-1)?.payload ?? new Uint8Array()));
    expect(heard.pong).toBe(123.5);
  });

  it('refuses what no agent sends', () => {
    const { session, handlers } = setUp();
    const id = session.open({ op: 'stat' }, undefined, handlers);
    for (const b of [
      new ArrayBuffer(0),
      packet(0x26, id + 1, text('{}')),
      packet(0x28, id, text('12345678')),
      packet(0x29, 0, text('1234')),
      packet(0x24, id, text('123')),
      packet(0x25, id, text('{]')),
      packet(0x01, id, text('x')),
    ])
      expect(() => session.receive(b)).toThrow(PacketError);
  });
});
