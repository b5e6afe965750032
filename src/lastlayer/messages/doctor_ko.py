from lastlayer.messages import doctor_en
TEXTS = doctor_en.TEXTS
