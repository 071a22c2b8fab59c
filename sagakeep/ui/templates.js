// Templates: sagas to begin with. Their services are those of `serve --demo`.

const RESERVE = { id: "reserve_inventory", service: "inventory", action: "reserve", compensation: "release", payload: { productId: "prod_123", quantity: 2 } };
const PAY = {
  ...{ id: "process_payment", service: "payment", action: "charge", compensation: "refund" },
  payload: { amount: 99.99, currency: "USD", reservation: { $from: "steps.reserve_inventory.result.reservationId" } },
};
const SHIP = { id: "ship_order", service: "shipping", action: "ship", compensation: "cancel", payload: { address: "123 Main St" } };

export const TEMPLATES = {
  "An order": { name: "order_processing", steps: [RESERVE, PAY, SHIP], tags: { customer: "c-7" } },
  "An order that cannot be shipped, and is undone": {
    name: "order_processing",
    steps: [RESERVE, PAY, { ...SHIP, action: "fail" }],
  },
  "An order whose undo fails, and waits for a person": {
    name: "order_processing",
    steps: [RESERVE, { ...PAY, compensation: "fail" }, { ...SHIP, action: "fail" }],
  },
  "Steps at the same time": {
    name: "trip",
    steps: [
      { ...RESERVE, id: "hotel", dependsOn: [], payload: { productId: "double_room", quantity: 1 } },
      { ...RESERVE, id: "flight", dependsOn: [], payload: { productId: "seat_12a", quantity: 1 } },
      { ...PAY, id: "pay", dependsOn: ["hotel", "flight"], kind: "pivot", compensation: "", payload: { amount: 480, currency: "EUR" } },
      { ...SHIP, id: "tickets", dependsOn: ["pay"], kind: "retriable", compensation: "", action: "flaky", payload: { times: 2 } },
    ],
  },
};
